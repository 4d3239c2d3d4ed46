from __future__ import annotations

from constellation_settop.simulator.figures import Figures, summarize


def test_a_run_without_acks_has_a_summary() -> None:
    summary = summarize(Figures(), devices=3, seconds=2.0, waiting=5)

    assert (summary.devices, summary.acked, summary.waiting) == (3, 0, 5)
    assert (summary.ack_p50_ms, summary.ack_max_ms, summary.recommend_p99_ms) == (0.0, 0.0, 0.0)
    assert summary.memory_mib > 0


def test_times_are_milliseconds_and_rates_are_per_second() -> None:
    figures = Figures()
    for number in range(101):
        figures.record_ack(1, number / 1000)

    summary = summarize(figures, devices=1, seconds=10.1, waiting=0)

    assert (summary.ack_p50_ms, summary.ack_p99_ms, summary.ack_max_ms) == (50.0, 99.0, 100.0)
    assert summary.acked_per_second == 10.0


def test_only_the_most_frequent_problems_are_listed() -> None:
    figures = Figures()
    for number in range(12):
        figures.problems[f"problem {number}"] = number + 1

    problems = summarize(figures, devices=1, seconds=1.0, waiting=0).problems

    assert len(problems) == 10
    assert next(iter(problems.items())) == ("problem 11", 12)
    assert "problem 0" not in problems
