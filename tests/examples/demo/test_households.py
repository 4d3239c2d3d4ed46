from __future__ import annotations

import numpy as np

from examples.demo.households import (
    AckLatencies,
    compute_median_ms,
    make_device_id,
    select_held_out,
)
from tests.examples.demo.test_comparison import make_viewings


def test_the_last_fifth_of_the_films_a_household_liked_is_held_out() -> None:
    rows = [(1, f"liked-{number}", 5.0) for number in range(10)]
    viewings = make_viewings(*rows, (1, "disliked", 1.0), (2, "only", 5.0))

    held_out = viewings.content_ids[select_held_out(viewings)]

    assert held_out.tolist() == ["liked-8", "liked-9"]


def test_the_median_is_over_all_shards_and_in_milliseconds() -> None:
    slow, fast = AckLatencies(), AckLatencies()
    slow.add(1, 0.3)
    fast.add(1, 0.1)

    assert compute_median_ms([slow, fast]) == 200
    assert compute_median_ms([AckLatencies()]) == 0


def test_a_household_has_one_device_id_in_every_run() -> None:
    assert make_device_id(7) == make_device_id(7)
    assert len({make_device_id(number) for number in range(100)}) == 100
    assert len(np.frombuffer(make_device_id(7), np.uint8)) == 16
