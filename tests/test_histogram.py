from __future__ import annotations

from constellation.histogram import Histogram


def test_a_value_at_a_bound_counts_up_to_it() -> None:
    histogram = Histogram((1.0, 2.0))

    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)

    assert histogram.cumulative() == [2, 3, 4]
    assert histogram.total == 12.0
