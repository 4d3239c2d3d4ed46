"""PatternChange: what one commit does to the pattern rows of a shard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import PATTERN, PatternRows, Slots
from constellation.core.store import no_slots
from constellation.core.table.shard_table import DevicePatterns, Table, to_pattern_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.table.support import Supports


@dataclass(frozen=True, slots=True, eq=False)
class PatternChange:
    """The pattern rows that one commit writes and frees, and what follows from that in memory."""

    slots: Slots
    """Slots that are written, distinct; each holds a row already or is free."""
    rows: PatternRows
    """The row that each of `slots` gets."""
    is_new: NDArray[np.bool_]
    """Which of `slots` are free before the commit."""
    freed_slots: Slots
    """Slots that lose their pattern, distinct."""
    devices: Slots
    """The devices whose deltas are applied or that expire, distinct."""
    unlinked_devices: Slots
    """Those of `devices` whose list of patterns is emptied before the new links are added."""
    linked_patterns: DevicePatterns
    """The patterns that are linked to `devices`, after `unlinked_devices` were emptied."""
    gained: Supports
    """One for each (device, content item) whose support begins."""
    lost: Supports
    """One for each (device, content item) whose support ends."""
    taste_moved_devices: Slots
    """Devices whose taste moved, so that other patterns may be similar now."""
    recounted_devices: Slots = field(default_factory=no_slots)
    """Devices that begin or cease to count for others, distinct."""
    recounted_numbers: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    """The origin number of each of `recounted_devices`; 0 for one that ceases to count."""

    def apply(self, table: Table, lsn: int) -> None:
        """Bring the table's pattern rows, lists, index of ids and support to the new state."""
        table.groups.record_commit(self.slots, self.freed_slots, lsn)
        self._recount_groups(table, lsn)
        if len(self.freed_slots):
            table.slots_by_pattern.remove(_to_row_keys(table.patterns[self.freed_slots]))
            table.patterns[self.freed_slots] = np.zeros(1, PATTERN)
            table.patterns["lsn"][self.freed_slots] = lsn
        new = self.slots[self.is_new]
        if len(new):
            table.pattern_allocator.take(len(new))
            table.slots_by_pattern.put(_to_row_keys(self.rows[self.is_new]), new)
        table.pattern_allocator.free(self.freed_slots)
        table.patterns[self.slots] = self.rows
        table.unlink(self.unlinked_devices)
        table.link(self.devices, self.linked_patterns)
        table.support.remove(self.lost)
        table.support.add(self.gained)
        table.standing.set(self.recounted_devices, self.recounted_numbers)

    def _recount_groups(self, table: Table, lsn: int) -> None:
        """Dissolve the groups of devices that cease to count; those that begin to have arrived."""
        if not len(self.recounted_devices):
            return
        ceasing = self.recounted_devices[self.recounted_numbers == 0]
        groups = table.groups
        groups.dissolve(groups.find_groups(table.find_patterns(ceasing).slots), lsn)
        groups.arrival_count += len(self.recounted_devices) - len(ceasing)


def is_shared(rows: PatternRows, rules: Rules) -> NDArray[np.bool_]:
    """Return which rows may be shown to other devices; free slots may not."""
    shared: NDArray[np.bool_] = (rows["sample_count"] > 0) & (
        rows["success_rate"] >= np.float32(rules.share_threshold)
    )
    return shared


def _to_row_keys(rows: PatternRows) -> NDArray[np.uint64]:
    return to_pattern_keys(rows["pattern_id"].tobytes(), rows["device"].astype(np.int64))
