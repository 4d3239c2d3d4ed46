from __future__ import annotations

from constellation.plots.style import COLOURS
from quality.figures import load_chain
from quality.plot import draw_quality
from tests.commands.png import read_png


def test_the_picture_has_bars_of_devices_and_their_curve() -> None:
    pixels = read_png(draw_quality(load_chain()))

    blue = [int(COLOURS[0][start : start + 2], 16) for start in (1, 3, 5)]
    rows, _ = (pixels[:, :, :3] == blue).all(axis=2).nonzero()
    middle = len(pixels) // 2
    assert (rows < middle).sum() > 10_000  # bars
    assert (rows > middle).sum() > 1_000  # the curve
