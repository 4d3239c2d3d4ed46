from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import PATTERN
from constellation.core.store import no_slots
from constellation.core.table.group_change import (
    GroupChange,
    PublishedGroups,
    make_group_change,
)
from constellation.core.table.groups import STALE, STALE_BLOCK_SLOTS, no_members
from constellation.core.table.stored_groups import compute_digests, decode_groups
from tests.core.ingest.planned_table import PlannedTable
from tests.core.shared.households import RULES
from tests.deltas import PatternSpec, make_delta

if TYPE_CHECKING:
    from constellation.core.table.shard_table import Table


def make_table(devices: int = 6) -> Table:
    """Return a table with a pattern of each device; the slot is the device's number."""
    shard = PlannedTable(replace(RULES, max_patterns=2 * STALE_BLOCK_SLOTS))
    for device in range(devices):
        shard.commit(make_delta(device, 1, [PatternSpec(1, device)]))
    return shard.table


def publish(table: Table, *members: list[int]) -> GroupChange:
    """Return the change that publishes new groups of these slots, and apply it."""
    rows = np.zeros(len(members), PATTERN)
    rows["sample_count"], rows["device"] = 4, 3
    published = PublishedGroups(
        table.groups.allocator.peek(len(members)),
        rows,
        np.concatenate(members),
        np.array([len(each) for each in members]),
    )
    change = make_group_change(table, published, no_members(), no_slots())
    return apply(table, change)


def dissolve(table: Table, *groups: int) -> GroupChange:
    numbers = np.array(groups)
    table.groups.dissolve(numbers, table.totals.lsn)
    members = table.groups.find_members(numbers)
    return apply(table, make_group_change(table, PublishedGroups(), members, no_slots()))


def apply(table: Table, change: GroupChange) -> GroupChange:
    change.apply(table)
    table.totals = replace(table.totals, group_digest=change.group_digest)
    return change


def sum_digests(table: Table) -> int:
    """Return the digest of everything that the store holds of groups."""
    groups = table.groups
    return (int(groups.digests.sum()) + sum(groups.stale_digests.values())) % 2**64


def test_what_is_published_is_stored_with_its_members() -> None:
    table = make_table()

    change = publish(table, [0, 1, 2], [4, 3, 5])

    rows, members, sizes = decode_groups(change.records, np.array([True, True]))
    assert (rows["device"].tolist(), sizes.tolist()) == ([3, 3], [3, 3])
    assert members["slot"].tolist() == [0, 1, 2, 4, 3, 5]
    assert table.groups.owners[:6].tolist() == [1, 1, 1, 2, 2, 2]
    assert table.groups.find_published().tolist() == [0, 1]
    assert change.group_digest == sum_digests(table) == sum(compute_digests(change.records)) % 2**64


def test_what_is_left_of_a_dissolved_group_is_stale_and_its_number_free() -> None:
    table = make_table()
    publish(table, [0, 1, 2], [3, 4, 5])

    change = dissolve(table, 0)

    assert table.groups.owners[:6].tolist() == [STALE] * 3 + [2] * 3
    assert change.freed_records.tolist() == [0]
    assert change.records.numbers.tolist() == [1]  # the stale patterns of the first block
    assert table.groups.allocator.peek(1).tolist() == [0]
    assert not table.groups.dissolving
    assert table.totals.group_digest == sum_digests(table)


def test_a_stale_pattern_that_joins_a_group_is_stored_as_stale_no_longer() -> None:
    table = make_table()
    publish(table, [0, 1, 2])
    dissolve(table, 0)

    change = publish(table, [0, 1, 2, 3, 4, 5])

    assert change.freed_records.tolist() == [1]
    assert not table.groups.stale_digests
    assert table.totals.group_digest == sum_digests(table)


def test_a_pattern_that_leaves_at_a_revision_is_stale_and_the_others_stay() -> None:
    table = make_table()
    publish(table, [0, 1, 2, 3])
    revised = PublishedGroups(
        np.array([0]), table.groups.rows[:1].copy(), np.array([0, 1, 2]), np.array([3])
    )

    change = apply(table, make_group_change(table, revised, no_members(), np.array([3])))

    assert table.groups.owners[:4].tolist() == [1, 1, 1, STALE]
    assert sorted(change.records.numbers.tolist()) == [0, 1]
    assert (table.groups.count, table.groups.allocator.high_water) == (1, 1)
    assert table.totals.group_digest == sum_digests(table)


def test_members_that_are_gone_when_a_dissolution_is_written_are_left_out() -> None:
    table = make_table()
    publish(table, [0, 1, 2])
    members = table.groups.find_members(np.array([0]))
    table.groups.record_commit(no_slots(), np.array([1]), lsn=9)

    change = make_group_change(table, PublishedGroups(), members, no_slots())

    assert change.stale_slots.tolist() == [0, 2]


def test_a_change_of_nothing_is_empty() -> None:
    table = make_table()

    assert make_group_change(table, PublishedGroups(), no_members(), no_slots()).is_empty
    assert not publish(table, [0, 1, 2]).is_empty
