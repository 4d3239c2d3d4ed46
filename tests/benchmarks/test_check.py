from __future__ import annotations

import json

import pytest

from benchmarks.check import FILE, TOLERANCE, find_too_high
from benchmarks.short_cases import SHORT_CASES, ShortCase


def test_every_figure_of_every_short_case_is_committed() -> None:
    figures = {name for case in SHORT_CASES.values() for name in case.figures}

    assert set(json.loads(FILE.read_text())) == figures


def test_a_figure_may_be_a_little_too_high_and_much_too_low() -> None:
    committed = {"delta_cpu": 2.0}

    assert find_too_high({"delta_cpu": 2.0 * (1 + TOLERANCE)}, committed) == []
    assert find_too_high({"delta_cpu": 0.5}, committed) == []
    assert find_too_high({"delta_cpu": 2.01 * (1 + TOLERANCE)}, committed) == ["delta_cpu"]


def test_a_short_case_takes_the_lowest_ratio_of_its_turns() -> None:
    shard, bare = iter([6.0, 4.0, 9.0]), iter([2.0, 2.0, 3.0])
    case = ShortCase(("cost",), lambda: {"cost": next(shard)}, lambda: {"cost": next(bare)})

    assert case.measure(turns=3) == {"cost": pytest.approx(2.0)}
