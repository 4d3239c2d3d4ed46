"""What a device contributes in a week, through the planner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.ingest.deltas import RejectionReason
from constellation.core.ingest.weekly import begin_week, count_pattern_room, take_liked
from constellation.core.rows import DEVICE, TermKind
from constellation.core.table.standing import to_day
from constellation.federated.weeks import WEEK_SECONDS, find_week, find_week_start
from tests.core.ingest.planned_table import RULES, PlannedTable
from tests.deltas import PatternSpec, device_id, make_delta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.plan import Plan

MONDAY = float(find_week_start(find_week(1_800_000_000.0)))
"""The first second of a week."""
WEEKLY = replace(RULES, patterns_per_week=6, signals_per_week=5, liked_per_week=7)


def renew(shard: PlannedTable, seq: int, new: Sequence[int], now: float = MONDAY) -> Plan:
    """Replace all patterns of device 0 by others."""
    specs = [PatternSpec(number, number) for number in new]
    return shard.commit(make_delta(0, seq, specs, snapshot=True), now=now)


def list_reasons(plan: Plan) -> list[RejectionReason]:
    return [rejection.reason for rejection in plan.receipts[0].rejections]


def test_a_device_that_renews_its_patterns_is_stopped_until_monday() -> None:
    shard = PlannedTable(WEEKLY)

    assert not list_reasons(renew(shard, 1, range(5)))
    second = renew(shard, 2, range(10, 15), MONDAY + 5 * 86_400)
    assert list_reasons(second) == [RejectionReason.TOO_MANY_NEW_PATTERNS] * 4
    assert len(shard.read_success_rates()) == 1
    assert not list_reasons(renew(shard, 3, range(20, 25), MONDAY + WEEK_SECONDS))


def test_a_pattern_that_changes_is_not_new_and_one_that_comes_back_is() -> None:
    shard = PlannedTable(WEEKLY)
    for seq in range(1, 20):
        specs = [PatternSpec(number, seq) for number in range(5)]
        assert not shard.commit(make_delta(0, seq, specs), now=MONDAY).receipts[0].rejections

    shard.commit(make_delta(0, 20, removed=[0, 1]), now=MONDAY)
    back = shard.commit(make_delta(0, 21, [PatternSpec(0), PatternSpec(1)]), now=MONDAY)

    assert list_reasons(back) == [RejectionReason.TOO_MANY_NEW_PATTERNS]


def test_what_has_no_room_costs_nothing_of_the_week() -> None:
    shard = PlannedTable(WEEKLY)
    crowd = [PatternSpec(number, number) for number in range(9)]

    reasons = list_reasons(shard.commit(make_delta(0, 1, crowd), now=MONDAY))

    assert set(reasons) == {RejectionReason.TOO_MANY_PATTERNS}
    assert shard.table.devices["week_patterns"][0] == RULES.max_patterns_per_device


def test_every_device_has_a_week_of_its_own() -> None:
    shard = PlannedTable(WEEKLY)
    specs = [PatternSpec(number, number) for number in range(4)]
    shard.commit(make_delta(0, 1, specs), make_delta(1, 1, specs[:3]), now=MONDAY)

    plan = shard.commit(
        make_delta(0, 2, specs, snapshot=True), make_delta(1, 2, specs[3:]), now=MONDAY
    )

    assert not any(receipt.rejections for receipt in plan.receipts)
    assert shard.table.devices["week_patterns"][:2].tolist() == [4, 4]


def test_signals_count_until_the_week_is_full() -> None:
    shard = PlannedTable(WEEKLY)
    hour = int(MONDAY) // 3600
    taken = 0
    for number in range(8):
        signal = (f"film-{number}", hour + number)
        plan = shard.commit(make_delta(0, number + 1, signals=[signal]), now=MONDAY + 3600 * number)
        taken += 1 - plan.receipts[0].signals_dropped

    assert taken == WEEKLY.signals_per_week
    counts = shard.ring.counts()
    assert int(counts.devices[counts.kinds == TermKind.CONTENT].sum()) == taken
    later = [("film-9", hour + 168)]
    assert not (
        shard.commit(make_delta(0, 9, signals=later), now=MONDAY + WEEK_SECONDS)
        .receipts[0]
        .signals_dropped
    )


def test_a_device_that_likes_something_else_with_every_snapshot_is_stopped() -> None:
    shard = PlannedTable(WEEKLY)
    shard.commit(make_delta(0, 1, snapshot=True, liked=["a", "b", "c", "d"]), now=MONDAY)
    again = make_delta(0, 2, snapshot=True, liked=["d", "a", "e", "f", "g", "h", "i"])

    receipt = shard.commit(again, now=MONDAY).receipts[0]

    assert receipt.signals_dropped == 2  # the oldest of those that are new
    assert shard.read_liked()[device_id(0)] == ["d", "a", "g", "h", "i"]


def test_a_signal_beyond_what_may_be_liked_still_counts_for_trends() -> None:
    shard = PlannedTable(replace(WEEKLY, liked_per_week=1))
    hour = int(MONDAY) // 3600
    signals = [("film-1", hour), ("film-2", hour)]

    plan = shard.commit(make_delta(0, 1, signals=signals), now=MONDAY)

    assert not plan.receipts[0].signals_dropped

    assert shard.read_liked()[device_id(0)] == ["film-1"]
    assert shard.table.devices["week_signals"][0] == 2


def test_the_counts_are_of_one_week_from_monday_on() -> None:
    rows = np.zeros(2, DEVICE)
    for name in ("week_patterns", "week_signals", "week_liked"):
        rows[name] = 3
    rows["week"] = [find_week(MONDAY), find_week(MONDAY) - 1]

    begin_week(rows, to_day(MONDAY + WEEK_SECONDS - 1))

    assert rows["week"].tolist() == [find_week(MONDAY)] * 2
    assert rows["week_patterns"].tolist() == [3, 0]
    assert rows["week_signals"].tolist() == rows["week_liked"].tolist() == [3, 0]


def test_a_lower_bound_than_what_was_taken_leaves_no_room() -> None:
    rows = np.zeros(1, DEVICE)
    rows["week_patterns"] = rows["week_liked"] = 9

    assert count_pattern_room(rows, 5).tolist() == [0]
    assert take_liked(rows[0], 3, liked_per_week=5) == 0
    assert rows["week_liked"].tolist() == [9]
