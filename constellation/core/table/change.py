"""PatternChange: what one commit does to the pattern rows of a shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import PATTERN, PatternRows, Slots
from constellation.core.table.shard_table import DevicePatterns, Table, to_pattern_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.encoding import Codes


@dataclass(frozen=True, slots=True, eq=False)
class PatternChange:
    """Which pattern rows a commit writes and frees, and what follows from that in memory."""

    slots: Slots
    """Distinct; each replaces a row or takes a free slot ..."""
    rows: PatternRows
    """... and becomes this."""
    is_new: NDArray[np.bool_]
    """Which of `slots` were free."""
    freed_slots: Slots
    devices: Slots
    """The devices that were touched ..."""
    unlinked_devices: Slots
    """... those that lose the list of their patterns first ..."""
    linked_patterns: DevicePatterns
    """... and the patterns they are given then."""
    gained_contents: NDArray[np.int64]
    """Contents that one more device supports; repeated for several devices."""
    lost_contents: NDArray[np.int64]
    """Contents that one device less supports."""
    unindexed_slots: Slots
    """What leaves the index, before `indexed` enters."""
    indexed_slots: Slots
    indexed_codes: Codes
    taste_moved_devices: Slots
    """Devices whose taste moved."""

    def apply(self, table: Table, lsn: int) -> None:
        """Bring the table's pattern rows, lists, directory and support to the new state."""
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
        np.add.at(table.support, self.gained_contents, np.uint32(1))
        np.subtract.at(table.support, self.lost_contents, np.uint32(1))


def is_shared(rows: PatternRows, rules: Rules) -> NDArray[np.bool_]:
    """Say which rows may be shown to other devices; a free slot may not."""
    shared: NDArray[np.bool_] = (rows["sample_count"] > 0) & (
        rows["success_rate"] >= np.float32(rules.share_threshold)
    )
    return shared


def _to_uint64_pairs(ids: bytes | PatternRows) -> NDArray[np.uint64]:
    return np.frombuffer(bytes(ids) if isinstance(ids, bytes) else ids.tobytes(), "<u8").reshape(
        -1, 2
    )


def _to_row_keys(rows: PatternRows) -> NDArray[np.uint64]:
    return to_pattern_keys(_to_uint64_pairs(rows["pattern_id"]), rows["device"].astype(np.int64))
