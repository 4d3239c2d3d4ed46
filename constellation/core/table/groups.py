"""GroupTable: which patterns are merged into one shared pattern, and what was published of each.

A group is the set of patterns that one shared pattern merges. A pattern is *fresh* until it is in a
group that was published, and *stale* once that group is dissolved, or once it has left the group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.distinct import find_distinct
from constellation.core.rows import BLOCK_ROWS, PATTERN, PatternRows, Slots, reserve
from constellation.core.table.slot_allocator import SlotAllocator
from constellation.federated.floors import compute_min_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from constellation.core.rules import Rules

STALE: Final = 2**32 - 1
"""In `GroupTable.owners`: the pattern was in a group that was published, and is in none now."""
STALE_BLOCK_SLOTS: Final = 4096
"""Slots whose stale patterns are stored together."""
_OWNER: Final = np.dtype("<u4")
_COUNTED: Final = np.dtype("<u2")
_DIGEST: Final = np.dtype("<u8")
BYTES_PER_PATTERN: Final = _OWNER.itemsize + _COUNTED.itemsize
"""Memory for each pattern, whether it is in a group or not."""
BYTES_PER_GROUP: Final = PATTERN.itemsize + _DIGEST.itemsize
"""Memory for each group."""
_NO_SLOTS: Final = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class GroupMembers:
    """The patterns that are in some groups, one group's after another's."""

    groups: Slots
    """Distinct groups."""
    slots: Slots
    positions: NDArray[np.int64]
    """For each of `slots`, the position of its group in `groups`, ascending."""

    def divide(self, size: int) -> Iterator[GroupMembers]:
        """Yield parts of at most `size` groups each."""
        for start in range(0, len(self.groups), size):
            groups = self.groups[start : start + size]
            first, last = np.searchsorted(self.positions, [start, start + len(groups)])
            positions = self.positions[first:last] - start
            yield GroupMembers(groups, self.slots[first:last], positions)


def no_members() -> GroupMembers:
    return GroupMembers(_NO_SLOTS, _NO_SLOTS, _NO_SLOTS)


class GroupTable:
    """The groups of one shard, by number. Only the event loop changes them.

    A dissolved group is gone from answers at once. Its number is free again once the next epoch has
    made that durable.
    """

    def __init__(self, rules: Rules) -> None:
        self.min_members = compute_min_members(rules.k_anonymity)
        self.max_members = 2 * self.min_members
        """The most members of a group when it is formed; nobody joins it later."""
        capacity = rules.max_patterns
        self.rows: PatternRows = reserve(capacity, PATTERN)
        """By group: the shared pattern as it was published; zeros for a group that is dissolved.

        Its `device` is the least number of members that was required, its `reserved` whether it
        was revised."""
        self.digests: NDArray[np.uint64] = reserve(capacity, _DIGEST)
        """By group: the digest of what the store holds of it."""
        self.stale_digests: dict[int, int] = {}
        """By block of slots: the digest of what the store holds of its stale patterns."""
        self.owners: NDArray[np.uint32] = reserve(rules.max_patterns, _OWNER)
        """By slot: the pattern's group, plus 1; STALE, or 0 for a fresh pattern."""
        self._used = 0
        """No pattern from this slot on was ever in a group."""
        self._counted: NDArray[np.uint16] = reserve(rules.max_patterns, _COUNTED)
        """By slot: half of the hash of the codes that were counted in the pattern's group."""
        self.allocator = SlotAllocator(capacity)
        self.count = 0
        """The number of published groups, and so of shared patterns."""
        self.dissolving: set[int] = set()
        """Groups that are dissolved here, but not yet in the store."""
        self.arrival_count = 0
        """Patterns that were written while in no group, since `take_arrivals`."""
        self._moved: list[Slots] = []
        self._changed: list[Slots] = []

    def record_commit(self, written: Slots, freed: Slots, lsn: int) -> None:
        """Note the patterns that a commit writes and frees; dissolve the groups of freed ones."""
        owners = self.owners[written]
        self.arrival_count += int(np.count_nonzero(owners == 0))
        moved = written[(owners > 0) & (owners != STALE)]
        if len(moved):
            self._moved.append(moved)
        if len(freed):
            owners = self.owners[freed]
            self.dissolve(
                find_distinct(owners[(owners > 0) & (owners != STALE)]).astype(np.int64) - 1, lsn
            )
            self.owners[freed] = 0

    def dissolve(self, groups: Slots, lsn: int) -> None:
        """Withdraw distinct groups from answers; the next epoch makes that durable."""
        groups = groups[self.rows["sample_count"][groups] > 0]
        self.rows[groups] = np.zeros(1, PATTERN)
        self.rows["lsn"][groups] = lsn
        self.dissolving.update(groups.tolist())
        self.count -= len(groups)
        self._changed.append(groups)

    def publish(
        self, rows: PatternRows, members: GroupMembers, counted: NDArray[np.uint32]
    ) -> None:
        """Set what is published of the groups of `members`: new ones, or ones with more members.

        `rows` has a row for each group, `counted` the hash of the codes of each member.
        """
        groups, slots = members.groups, members.slots
        self.count += int(np.count_nonzero(self.rows["sample_count"][groups] == 0))
        self.rows[groups] = rows
        self.owners[slots] = groups[members.positions] + 1
        self._counted[slots] = counted.astype(np.uint16)
        self._used = max(self._used, int(slots.max(initial=-1)) + 1)
        self._changed.append(groups)

    def find_members(self, groups: Slots) -> GroupMembers:
        """Return the patterns that are in these distinct groups.

        Looks at every slot, because a list of members for each group would take more memory than
        all else: belongs in a worker thread.
        """
        position_by_owner = np.full(self.allocator.high_water + 2, -1, np.int64)
        position_by_owner[groups + 1] = np.arange(len(groups))
        found, owners = [_NO_SLOTS], [_NO_SLOTS]
        for start in range(0, self._used, BLOCK_ROWS):
            block = self.owners[start : min(start + BLOCK_ROWS, self._used)]
            positions = position_by_owner[np.minimum(block, len(position_by_owner) - 1)]
            chosen = np.flatnonzero(positions >= 0)
            found.append(chosen + start)
            owners.append(positions[chosen])
        slots, positions = np.concatenate(found), np.concatenate(owners)
        order = np.argsort(positions, kind="stable")
        return GroupMembers(groups, slots[order], positions[order])

    def keep_present(self, members: GroupMembers) -> GroupMembers:
        """Return the members that are still in their groups."""
        is_here = self.owners[members.slots] == members.groups[members.positions] + 1
        return GroupMembers(members.groups, members.slots[is_here], members.positions[is_here])

    def is_counted(self, slots: Slots, hashes: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Return whether the codes with these hashes are those that were counted of each pattern.

        One other code in 65,536 looks like that, too: such a change waits for the next one.
        """
        counted: NDArray[np.bool_] = self._counted[slots] == hashes.astype(np.uint16)
        return counted

    def find_groups(self, slots: Slots) -> Slots:
        """Return the distinct groups that these patterns are in, ascending."""
        owners = self.owners[slots]
        return find_distinct(owners[(owners > 0) & (owners != STALE)]).astype(np.int64) - 1

    def find_published(self) -> Slots:
        """Return the groups that are published, ascending. Looks at every group."""
        return np.flatnonzero(self.rows["sample_count"][: self.allocator.high_water])

    def take_moved(self) -> Slots:
        """Return the grouped patterns that were written since the last call."""
        moved, self._moved = self._moved, []
        return find_distinct(np.concatenate([_NO_SLOTS, *moved]))

    def take_arrivals(self) -> int:
        """Return how many patterns were written while in no group since the last call."""
        count, self.arrival_count = self.arrival_count, 0
        return count

    def take_changed(self) -> Slots:
        """Return the groups that were published or dissolved since the last call, distinct."""
        changed, self._changed = self._changed, []
        return find_distinct(np.concatenate([_NO_SLOTS, *changed]))

    @property
    def changed_count(self) -> int:
        """How many groups `take_changed` would return, or more."""
        return sum(map(len, self._changed))
