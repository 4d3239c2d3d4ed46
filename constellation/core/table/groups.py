"""GroupTable: which patterns are merged into one shared pattern, and what was published of each.

A group is the set of patterns that one shared pattern merges. A pattern is *fresh* until it is in a
group that was published, and *stale* once that group is dissolved, or once it has left the group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.distinct import find_distinct
from constellation.core.rows import PATTERN, PatternRows, Slots, reserve
from constellation.core.table.slot_allocator import SlotAllocator
from constellation.federated.floors import compute_min_members

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rules import Rules

STALE: Final = 2**32 - 1
"""In `GroupTable.owners`: the pattern was in a group that was published, and is in none now."""
STALE_BLOCK_SLOTS: Final = 4096
"""Slots whose stale patterns are stored together."""
_MIN_WIDTH: Final = 36
"""Members for which there is room in memory, so that groups outlast a lower K_ANONYMITY."""
_NO_SLOTS: Final = np.empty(0, np.int64)


class GroupTable:
    """The groups of one shard, by number. Only the event loop changes them.

    A dissolved group is gone from answers at once. Its number is free again once the next epoch has
    made that durable.
    """

    def __init__(self, rules: Rules) -> None:
        self.min_members = compute_min_members(rules.k_anonymity)
        self.max_members = 2 * self.min_members
        """A group has at most as many members when it is formed, and none joins it later."""
        capacity, width = rules.max_patterns, max(self.max_members, _MIN_WIDTH)
        self.rows: PatternRows = reserve(capacity, PATTERN)
        """By group: the shared pattern as it was published; zeros for a group that is dissolved.

        Its `device` is the least number of members that was required, its `reserved` whether it
        was revised."""
        self.members: NDArray[np.uint32] = reserve(capacity * width, np.dtype("<u4")).reshape(
            capacity, width
        )
        """By group: the slots of its members, plus 1; 0 after the last."""
        self.digests: NDArray[np.uint64] = reserve(capacity, np.dtype("<u8"))
        """By group: the digest of what the store holds of it."""
        self.stale_digests: dict[int, int] = {}
        """By block of slots: the digest of what the store holds of its stale patterns."""
        self.owners: NDArray[np.uint32] = reserve(rules.max_patterns, np.dtype("<u4"))
        """By slot: the pattern's group, plus 1; STALE, or 0 for a fresh pattern."""
        self.counted: NDArray[np.uint32] = reserve(rules.max_patterns, np.dtype("<u4"))
        """By slot: the hash of the codes that were counted in the pattern's group."""
        self.allocator = SlotAllocator(capacity)
        self.count = 0
        """Groups that are published, which are as many shared patterns."""
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
        self,
        groups: Slots,
        rows: PatternRows,
        members: NDArray[np.uint32],
        counted: NDArray[np.uint32],
    ) -> None:
        """Set what is published of distinct groups; they are new, or published with more members.

        `members` and `counted` have a row for each group, as wide as `self.members`.
        """
        self.count += int(np.count_nonzero(self.rows["sample_count"][groups] == 0))
        self.rows[groups] = rows
        self.members[groups] = members
        present = members > 0
        slots = members[present].astype(np.int64) - 1
        self.owners[slots] = np.repeat(groups + 1, present.sum(axis=1))
        self.counted[slots] = counted[present]
        self._changed.append(groups)

    def find_members(self, groups: Slots) -> tuple[Slots, Slots]:
        """Return the slots that are still in these groups, and the position of each one's group."""
        members = self.members[groups].astype(np.int64) - 1
        present = members >= 0
        slots, positions = members[present], np.nonzero(present)[0]
        current = self.owners[slots] == groups[positions] + 1
        return slots[current], positions[current]

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
