from __future__ import annotations

import pytest

from benchmarks.turns import Run, compare_runs, take_turns


def test_every_side_runs_once_in_each_turn_and_the_order_alternates() -> None:
    ran: list[str] = []

    def run(name: str) -> int:
        ran.append(name)
        return len(ran)

    results = take_turns({"a": lambda: run("a"), "b": lambda: run("b")}, 3)

    assert ran == ["a", "b", "b", "a", "a", "b"]
    assert results == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_the_ratio_is_taken_within_a_turn() -> None:
    ours = [Run(10.0), Run(1.0), Run(6.0)]
    theirs = [Run(20.0), Run(2.0), Run(10.0)]  # the second turn was ten times as slow, for both

    line = compare_runs("x", "ms", ours, "bare", theirs)

    assert (line.value, line.baseline_value) == (6.0, 10.0)
    assert line.ratio == pytest.approx(0.5)
    assert (line.spread, line.runs, line.better) == ((0.5, 0.6), 3, "lower")


def test_processor_times_of_both_sides_are_medians() -> None:
    ours = [Run(1.0, {"server": value}) for value in (3.0, 9.0, 5.0)]
    theirs = [Run(1.0, {"server": value}) for value in (2.0, 1.0, 8.0)]

    line = compare_runs("x", "ms", ours, "bare", theirs)

    assert line.cpu_us == {"server": 5.0, "baseline server": 2.0}


def test_sides_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare_runs("x", "ms", [Run(1.0)], "bare", [Run(1.0), Run(2.0)])
