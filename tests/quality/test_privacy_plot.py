from __future__ import annotations

from constellation.plots.style import COLOURS
from quality.figures import load_privacy
from quality.privacy_plot import draw_privacy
from tests.commands.png import read_png


def test_the_picture_has_a_line_for_each_fleet() -> None:
    pixels = read_png(draw_privacy(load_privacy()))

    for colour in COLOURS[:3]:
        wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
        assert (pixels[:, :, :3] == wanted).all(axis=2).sum() > 300
