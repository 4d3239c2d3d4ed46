from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.rows import TermKind
from constellation.core.table.origins import DeviceOrigin
from tests.core.aggregates.steps import STEPS
from tests.core.ingest.planned_table import HOUR, NOW, RULES, PlannedTable
from tests.deltas import PatternSpec, make_delta

DAY = 86_400
WEEK_RULES = replace(RULES, min_device_age_days=7, k_anonymity=5, max_devices=20, max_patterns=100)


def sync_daily(shard: PlannedTable, devices: range, days: range, content: str = "film") -> None:
    for day in days:
        for device in devices:
            pattern = PatternSpec(device, device, contents=(content,))
            shard.commit(make_delta(device, day + 1, [pattern]), now=NOW + day * DAY)


def count_support(shard: PlannedTable, content: str = "film") -> int:
    number = shard.table.vocabulary.number(TermKind.CONTENT, content)
    return int(shard.table.support.devices[number])


def test_new_devices_make_nothing_visible_before_they_are_proven() -> None:
    shard = PlannedTable(WEEK_RULES)
    sync_daily(shard, range(5), range(3))
    number = shard.table.vocabulary.number(TermKind.CONTENT, "film")
    assert shard.recount(NOW + 6 * DAY).tolist() == []
    assert count_support(shard) == 0

    assert shard.recount(NOW + 7 * DAY).tolist() == [0, 1, 2, 3, 4]

    shard.require_consistent()
    assert shard.table.has_support(np.array([number]), 5).tolist() == [True]


def test_empty_deltas_are_no_activity() -> None:
    shard = PlannedTable(WEEK_RULES)
    for day in range(8):
        shard.commit(
            make_delta(0, day + 1, removed=[1]),
            make_delta(1, day + 1, [PatternSpec(1, success_rate=0.1)]),
            make_delta(2, day + 1, signals=[("film", HOUR - 9000)]),
            make_delta(3, day + 1, signals=[("film", HOUR + 24 * day)]),
            now=NOW + day * DAY,
        )

    assert shard.recount(NOW + 8 * DAY).tolist() == [3]


def test_the_signals_of_new_devices_do_not_count_for_trends() -> None:
    shard = PlannedTable(WEEK_RULES)
    shard.commit(*(make_delta(device, 1, signals=[("film", HOUR)]) for device in range(5)))
    assert len(shard.ring.counts().hours) == 0

    trusted = PlannedTable(replace(WEEK_RULES, min_device_age_days=0))
    trusted.commit(*(make_delta(device, 1, signals=[("film", HOUR)]) for device in range(5)))
    assert trusted.ring.counts().devices.tolist() == [5]


def test_what_a_quarantined_device_contributed_leaves_and_comes_back_exactly() -> None:
    shard = PlannedTable()
    shard.commit(*(make_delta(n, 1, [PatternSpec(n, n, contents=("film",))]) for n in range(3)))
    before = shard.table.standing.numbers.tobytes()

    shard.quarantine(1)
    shard.require_consistent()
    assert count_support(shard) == 2
    shard.commit(make_delta(1, 2, [PatternSpec(9, contents=("film",))], signals=[("film", HOUR)]))
    shard.require_consistent()
    assert count_support(shard) == 2
    assert len(shard.ring.counts().hours) == 0

    shard.quarantine(1, lift=True)
    shard.require_consistent()
    assert count_support(shard) == 3
    assert shard.table.standing.numbers.tobytes() == before


def test_five_devices_of_one_lot_make_nothing_visible_among_several_lots() -> None:
    shard = PlannedTable(replace(WEEK_RULES, min_device_age_days=0))
    for device in range(10):
        delta = make_delta(device, 1, [PatternSpec(1, contents=("honest",))])
        shard.commit(replace(delta, origin=DeviceOrigin(lot=1 + device % 5)))
    for device in range(10, 15):
        delta = make_delta(device, 1, [PatternSpec(1, contents=("made up",))])
        shard.commit(replace(delta, origin=DeviceOrigin(lot=1)))
    honest, made_up = (
        shard.table.vocabulary.number(TermKind.CONTENT, text) for text in ("honest", "made up")
    )

    assert shard.table.support.devices[[honest, made_up]].tolist() == [10, 5]
    assert shard.table.has_support(np.array([honest, made_up]), 5).tolist() == [True, False]


def test_a_device_that_is_enrolled_later_counts_with_its_lot_from_the_next_day_on() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1, contents=("film",))]))
    delta = make_delta(0, 2, [PatternSpec(2, contents=("film",))])
    shard.commit(replace(delta, origin=DeviceOrigin(lot=6)))
    assert shard.table.standing.numbers[0] == 1

    assert shard.recount(NOW + DAY).tolist() == [0]

    shard.require_consistent()
    assert shard.table.standing.numbers[0] == 7
    assert shard.table.devices["attested"][0] == 1


@settings(max_examples=60, deadline=None)
@given(STEPS, st.sampled_from([0, 1]))
def test_support_and_index_are_those_of_the_counted_devices_whatever_happened(
    steps: list[Any], min_age_days: int
) -> None:
    shard, now = PlannedTable(replace(RULES, min_device_age_days=min_age_days)), NOW
    seqs: dict[int, int] = defaultdict(int)
    for step in steps:
        match step:
            case ("delta", device, upserts, removed, snapshot):
                seqs[device] += 1
                delta = make_delta(device, seqs[device], upserts, removed, snapshot=snapshot)
                shard.commit(replace(delta, origin=DeviceOrigin(device)), now=now)
            case ("quarantine", device, lift) if seqs[device]:
                shard.quarantine(device, lift=lift, now=now)
            case ("expire", device) if seqs[device]:
                shard.expire(device)
                seqs[device] = 0
            case ("next day",):
                now += DAY
                shard.recount(now)
        shard.require_consistent()
