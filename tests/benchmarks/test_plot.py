from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.plot import draw_growth, draw_reach
from constellation.plots.style import COLOURS
from tests.benchmarks.samples import make_row
from tests.commands.png import read_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def count_pixels(pixels: NDArray[np.uint8], colour: str) -> int:
    rgb = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((pixels[:, :, :3] == rgb).all(axis=2).sum())


def test_hits_and_misses_have_their_colours() -> None:
    hit, missed = make_row("recommend_p99_17k", 2.0), make_row("ingest_vs_echo", 1.0)

    both = read_png(draw_reach([hit, missed]))
    only_hit = read_png(draw_reach([hit]))

    assert count_pixels(both, COLOURS[0]) > 1000
    assert count_pixels(both, COLOURS[1]) > 1000
    assert count_pixels(only_hit, COLOURS[1]) == 0


def test_each_cost_is_a_line_over_the_sizes() -> None:
    one = [make_row("growth_sync_us_10k", ratio=1.0), make_row("growth_sync_us_1m", ratio=3.0)]
    other = [make_row("growth_connect_us_100", ratio=1.0), make_row("growth_connect_us_50000")]

    both = read_png(draw_growth([*one, *other, make_row("growth_sync_us_exponent")]))
    alone = read_png(draw_growth([*one, make_row("ingest_vs_echo")]))

    assert min(count_pixels(both, colour) for colour in COLOURS[:2]) > 500
    assert count_pixels(alone, COLOURS[0]) > 500
    assert count_pixels(alone, COLOURS[1]) == 0
