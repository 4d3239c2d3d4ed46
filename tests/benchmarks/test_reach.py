from __future__ import annotations

import pytest

from benchmarks.reach import REACH, Reach
from tests.benchmarks.samples import make_row


@pytest.mark.parametrize(
    ("reach", "is_met"),
    [
        (Reach("ratio", 0.5, is_least=True), True),
        (Reach("ratio", 0.51, is_least=True), False),
        (Reach("value", 5.0, is_least=False), True),
        (Reach("value", 4.9, is_least=False), False),
    ],
)
def test_a_bound_is_kept_or_not(reach: Reach, is_met: bool) -> None:  # noqa: FBT001  # a parameter of the test
    assert reach.is_met(make_row("x", 5.0)) is is_met


def test_a_bound_of_a_value_has_a_unit() -> None:
    assert REACH["recommend_p99_17k"].describe("ms") == "≤ 5 ms"
    assert REACH["ingest_vs_echo"].describe("syncs/s") == "≥ 0.7"
