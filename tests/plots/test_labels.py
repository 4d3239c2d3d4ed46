from __future__ import annotations

import numpy as np

from constellation.plots.labels import LINE_PIXELS, place_labels, shorten, spread_apart


def test_labels_do_not_cover_each_other_and_stay_inside() -> None:
    marks = np.random.default_rng(2).uniform(0, 1, (40, 2)) * (900, 600)

    labels = place_labels(marks, [f"A title of some length {n}" for n in range(40)], (900, 600))

    boxes = [(each.x, each.y, len(each.text) * 6.4) for each in labels]
    assert len(labels) > 15
    for index, (x, y, wide) in enumerate(boxes):
        assert x - wide / 2 >= -0.01
        assert x + wide / 2 <= 900.01
        for other_x, other_y, other_wide in boxes[:index]:
            apart = abs(x - other_x) >= (wide + other_wide) / 2 - 0.01
            assert apart or abs(y - other_y) >= LINE_PIXELS - 0.01


def test_names_of_lines_that_end_together_are_spread_with_the_strongest_on_top() -> None:
    assert spread_apart([0, 0, 0, 50], 15, 100) == [30, 15, 0, 50]
    assert spread_apart([100, 99, 10], 15, 100) == [100, 85, 10]


def test_long_titles_are_shortened() -> None:
    assert shorten("Ran") == "Ran"
    assert shorten("x" * 50) == "x" * 33 + "…"
