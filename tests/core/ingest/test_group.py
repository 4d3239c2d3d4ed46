"""What the deltas of a group make of the liked content of their devices."""

from __future__ import annotations

from dataclasses import replace

from constellation.core.rows import TermKind
from constellation.core.table.contributors import ContributorSample
from tests.core.ingest.planned_table import HOUR, NOW, RULES, PlannedTable
from tests.deltas import device_id, make_delta

A, B = device_id(0), device_id(1)


def test_signals_that_count_are_liked_in_the_order_of_their_arrival() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, signals=[("x", HOUR), ("y", HOUR)]))
    shard.commit(make_delta(0, 2, signals=[("z", HOUR), ("x", HOUR)]), make_delta(1, 1))

    plan = shard.commit(make_delta(0, 3, signals=[("x", HOUR + 1)]), now=NOW + 3600)

    # "x" of the same hour was a repetition; that of the next hour counts again
    assert shard.read_liked() == {A: ["y", "z", "x"]}
    assert plan.receipts[0].signals_dropped == 0
    shard.require_consistent()


def test_a_duplicate_changes_nothing() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, signals=[("x", HOUR)]), make_delta(0, 2, withdrawn=["x"]))

    shard.commit(make_delta(0, 1, signals=[("x", HOUR)]))

    assert shard.read_liked() == {}
    shard.require_consistent()


def test_signals_that_are_dropped_are_not_liked() -> None:
    shard = PlannedTable()
    old = make_delta(0, 1, signals=[("old", HOUR - 200), *((f"x{n}", HOUR) for n in range(6))])

    plan = shard.commit(old)

    assert plan.receipts[0].signals_dropped == 3
    assert shard.read_liked() == {A: ["x0", "x1", "x2", "x3"]}


def test_a_snapshot_replaces_what_was_liked_before_its_signals() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, signals=[("old", HOUR)]))

    liked = ["a", "b", "c"]
    shard.commit(
        make_delta(0, 2, snapshot=True, liked=liked, withdrawn=["b"], signals=[("a", HOUR)])
    )

    assert shard.read_liked() == {A: ["c", "a"]}
    shard.require_consistent()


def test_a_snapshot_without_liked_content_empties_it() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, signals=[("x", HOUR)]))

    plan = shard.commit(make_delta(0, 1, snapshot=True, incarnation=2))

    assert shard.read_liked() == {}
    assert len(plan.writes.freed_liked) == 1
    shard.require_consistent()


def test_withdrawn_content_goes_before_the_signals_of_its_delta_count() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, signals=[("x", HOUR), ("y", HOUR)]))

    again = make_delta(0, 2, withdrawn=["x", "y", "unknown"], signals=[("y", HOUR + 1)])
    shard.commit(again, now=NOW + 3600)

    assert shard.read_liked() == {A: ["y"]}
    assert not shard.table.vocabulary.number(TermKind.CONTENT, "unknown")


def test_liked_content_beyond_the_budget_of_new_ids_is_dropped() -> None:
    shard = PlannedTable(replace(RULES, max_new_contents_per_hour=2))
    shard.commit(make_delta(1, 1, signals=[("known", HOUR)]))

    plan = shard.commit(make_delta(0, 1, snapshot=True, liked=["a", "b", "c", "known"]))

    assert shard.read_liked()[A] == ["a", "b", "known"]
    assert plan.receipts[0].signals_dropped == 1
    assert not shard.table.vocabulary.number(TermKind.CONTENT, "c")


def test_only_devices_of_the_sample_contribute() -> None:
    sample = ContributorSample(b"s" * 32, 0.5)
    contributes = [sample.contains(device_id(number)) for number in range(6)]
    assert set(contributes) == {True, False}
    shard = PlannedTable(RULES, sample)

    plan = shard.commit(
        *(make_delta(number, 1, snapshot=True, liked=["a", "b"]) for number in range(6)),
        *(make_delta(number, 2, signals=[("c", HOUR)]) for number in range(6)),
    )

    assert shard.read_liked() == {
        device_id(number): ["a", "b", "c"] for number in range(6) if contributes[number]
    }
    # every device named what it watched, whether that is kept or not
    assert len(plan.named_contents.devices) == 6 + 2 * sum(contributes)
    shard.require_consistent()


def test_an_expired_device_takes_what_it_liked_with_it() -> None:
    shard = PlannedTable()
    shard.commit(*(make_delta(number, 1, signals=[("x", HOUR)]) for number in range(2)))

    shard.expire(0)
    shard.commit(make_delta(2, 1))

    assert shard.read_liked() == {B: ["x"]}
    shard.require_consistent()
