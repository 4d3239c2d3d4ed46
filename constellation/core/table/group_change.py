"""GroupChange: what one step of an epoch does to the groups of a shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.distinct import find_distinct
from constellation.core.rows import PATTERN, PatternRows, Slots
from constellation.core.store import GroupRecords, no_slots
from constellation.core.table.groups import STALE, STALE_BLOCK_SLOTS, GroupMembers
from constellation.core.table.stored_groups import (
    MEMBER,
    add_digests,
    compute_digests,
    encode_groups,
    encode_stale,
    hash_codes,
    hash_identities,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.table.shard_table import Table


@dataclass(frozen=True, slots=True, eq=False)
class PublishedGroups:
    """Groups that are published, new or in their next revision."""

    groups: Slots = field(default_factory=no_slots)
    """Their numbers, distinct."""
    rows: PatternRows = field(default_factory=lambda: np.empty(0, PATTERN))
    """What is published of each."""
    slots: Slots = field(default_factory=no_slots)
    """Their members, one group's after another's."""
    sizes: NDArray[np.int64] = field(default_factory=no_slots)
    """How many members each group has."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupChange:
    """The groups that one commit publishes and frees, and what the store writes for it."""

    published: PublishedGroups
    counted: NDArray[np.uint32]
    """For each of `published.slots`, the hash of the codes that are counted."""
    freed_groups: Slots
    """Groups that are dissolved for good, distinct."""
    stale_slots: Slots
    """Patterns that become stale, distinct."""
    records: GroupRecords
    """What the store inserts or replaces."""
    freed_records: Slots
    """Numbers of the records that the store deletes."""
    digests: list[int]
    """The digest of each of `records`."""
    group_digest: int
    """`Totals.group_digest` after the commit."""

    @property
    def is_empty(self) -> bool:
        return not len(self.records.numbers) and not len(self.freed_records)

    def apply(self, table: Table) -> None:
        """Bring the table's groups to the new state."""
        groups, published = table.groups, self.published
        groups.dissolving.difference_update(self.freed_groups.tolist())
        groups.digests[self.freed_groups] = 0
        groups.allocator.free(self.freed_groups)
        groups.owners[self.stale_slots] = STALE
        new = int(np.count_nonzero(groups.rows["sample_count"][published.groups] == 0))
        groups.allocator.take(new)
        if len(published.groups):
            positions = np.repeat(np.arange(len(published.groups)), published.sizes)
            members = GroupMembers(published.groups, published.slots, positions)
            groups.publish(published.rows, members, self.counted)
        for number, digest in zip(self.records.numbers.tolist(), self.digests, strict=True):
            if number % 2:
                groups.stale_digests[number // 2] = digest
            else:
                groups.digests[number // 2] = digest
        for number in self.freed_records.tolist():
            if number % 2:
                del groups.stale_digests[number // 2]


def make_group_change(
    table: Table, published: PublishedGroups, freed: GroupMembers, leaving: Slots
) -> GroupChange:
    """Return the change that publishes groups, frees others, and makes patterns stale.

    `freed` are groups with all that may be left of them, which becomes stale; so do the patterns
    `leaving` a revised group. Call it while nothing is committed, in a worker thread.
    """
    groups, freed_groups = table.groups, freed.groups
    stale = np.concatenate([leaving, groups.keep_present(freed).slots])
    member_rows = table.patterns[published.slots]
    counted = hash_codes(member_rows["codes"])
    members = np.empty(len(published.slots), MEMBER)
    members["slot"] = published.slots
    members["identity"] = hash_identities(member_rows)
    members["codes"] = counted
    group_records = encode_groups(published.groups, published.rows, members, published.sizes)
    stale_records, freed_blocks = _encode_changed_blocks(table, stale, published.slots)
    records = GroupRecords(
        np.concatenate([group_records.numbers, stale_records.numbers]),
        np.concatenate([group_records.lengths, stale_records.lengths]),
        group_records.data + stale_records.data,
    )
    digests = compute_digests(records)
    gone = groups.digests[np.concatenate([published.groups, freed_groups])].tolist()
    blocks = [*(stale_records.numbers // 2).tolist(), *freed_blocks]
    gone += [groups.stale_digests.get(block, 0) for block in blocks]
    return GroupChange(
        published=published,
        counted=counted,
        freed_groups=freed_groups,
        stale_slots=stale,
        records=records,
        freed_records=np.concatenate(
            [2 * freed_groups, 2 * np.array(freed_blocks, np.int64) + 1]
        ).astype(np.int64),
        digests=digests,
        group_digest=add_digests(table.totals.group_digest, digests, gone),
    )


def _encode_changed_blocks(
    table: Table, stale: Slots, joining: Slots
) -> tuple[GroupRecords, list[int]]:
    """Return the records of the blocks whose stale patterns change, and the blocks without any."""
    groups = table.groups
    joined = joining[groups.owners[joining] == STALE]
    blocks = find_distinct(np.concatenate([stale, joined]) // STALE_BLOCK_SLOTS)
    numbers, records, freed = [], [], []
    for block in blocks.tolist():
        start = block * STALE_BLOCK_SLOTS
        is_stale = groups.owners[start : start + STALE_BLOCK_SLOTS] == STALE
        for slots, becomes in ((stale, True), (joined, False)):
            is_stale[slots[slots // STALE_BLOCK_SLOTS == block] - start] = becomes
        found = np.flatnonzero(is_stale) + start
        if len(found):
            number, record = encode_stale(block, found, table.patterns[found])
            numbers.append(number)
            records.append(record)
        elif block in groups.stale_digests:
            freed.append(block)
    return GroupRecords.from_list(numbers, records), freed
