from __future__ import annotations

import numpy as np

from constellation.core.ingest.content_budget import ContentBudget
from constellation.core.ingest.decode import decode_patterns
from constellation.core.ingest.deltas import Delta, RejectionReason
from constellation.core.ingest.resolve import DeltaGroup, Resolution, resolve
from constellation.core.rules import Rules
from tests.core.ingest.planned_table import HOUR, PlannedTable
from tests.deltas import PatternSpec, make_delta


def resolve_deltas(shard: PlannedTable, *deltas: Delta) -> Resolution:
    """Resolve deltas of device 0, which must be in the table."""
    batches = [delta.upserts for delta in deltas if delta.upserts]
    senders = np.array(
        [position for position, delta in enumerate(deltas) if delta.upserts], np.int64
    )
    budget = ContentBudget(shard.table, np.zeros(1, np.int64), hour=HOUR, most=256)
    upserts = decode_patterns(batches, [0] * len(batches), budget, 0.7)
    group = DeltaGroup(
        deltas,
        np.zeros(len(deltas), np.int64),
        upserts,
        senders[upserts.sources],
        shard.table.standing.numbers[:1],
        np.full(1, 100),
    )
    return resolve(shard.table, shard.rules, np.array([0]), group)


def make_shard(*patterns: PatternSpec) -> PlannedTable:
    shard = PlannedTable(Rules(max_devices=2, max_patterns=8, max_patterns_per_device=3))
    shard.commit(make_delta(0, 1, patterns))
    return shard


def test_a_rejection_does_not_change_the_upserts_it_was_given() -> None:
    shard = make_shard()
    delta = make_delta(0, 2, [PatternSpec(number) for number in range(5)])

    resolution = resolve_deltas(shard, delta)

    assert resolution.reasons.tolist() == [0, 0, 0] + [RejectionReason.TOO_MANY_PATTERNS] * 2
    assert len(resolution.change.slots) == 3


def test_a_removal_makes_room_within_the_same_group() -> None:
    shard = make_shard(PatternSpec(1), PatternSpec(2), PatternSpec(3))

    change = resolve_deltas(shard, make_delta(0, 2, [PatternSpec(4)], removed=[2])).change

    assert len(change.freed_slots) == 1
    assert change.is_new.tolist() == [True]


def test_of_several_operations_on_a_pattern_the_last_counts() -> None:
    shard = make_shard(PatternSpec(1, success_rate=0.75))

    change = resolve_deltas(
        shard,
        make_delta(0, 2, [PatternSpec(1, success_rate=0.8)]),
        make_delta(0, 3, removed=[1]),
        make_delta(0, 4, [PatternSpec(1, success_rate=0.9)]),
    ).change

    assert len(change.freed_slots) == 0
    assert change.is_new.tolist() == [False]
    assert np.allclose(change.rows["success_rate"], 0.9)


def test_a_snapshot_frees_what_it_does_not_name() -> None:
    shard = make_shard(PatternSpec(1), PatternSpec(2))

    change = resolve_deltas(shard, make_delta(0, 2, [PatternSpec(2)], snapshot=True)).change

    assert len(change.slots) == len(change.freed_slots) == 1
    assert change.unlinked_devices.tolist() == [0]


def test_a_pattern_that_hardly_turns_does_not_move_the_taste() -> None:
    shard = make_shard(PatternSpec(1, direction=1))

    same = resolve_deltas(shard, make_delta(0, 2, [PatternSpec(1, direction=1, sample_count=9)]))
    turned = resolve_deltas(shard, make_delta(0, 2, [PatternSpec(1, direction=2)]))

    assert same.change.taste_moved_devices.tolist() == []
    assert turned.change.taste_moved_devices.tolist() == [0]


def test_support_changes_only_with_the_last_pattern_that_names_a_content_item() -> None:
    shard = make_shard(PatternSpec(1, contents=("a",)), PatternSpec(2, contents=("a",)))

    one = resolve_deltas(shard, make_delta(0, 2, removed=[1])).change
    both = resolve_deltas(shard, make_delta(0, 2, removed=[1, 2])).change

    assert one.lost.contents.tolist() == []
    assert both.lost.contents.tolist() == [1]
