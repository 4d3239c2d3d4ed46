"""PatternChange: what one commit does to the pattern rows of a shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import PATTERN, PatternRows, Slots
from constellation.core.table.shard_table import Holding, Table, pattern_keys

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
    freed: Slots
    devices: Slots
    """The devices that were touched ..."""
    unlinked: Slots
    """... those that lose the list of their patterns first ..."""
    linked: Holding
    """... and the patterns they are given then."""
    gained: NDArray[np.int64]
    """Contents that one more device supports; repeated for several devices."""
    lost: NDArray[np.int64]
    """Contents that one device less supports."""
    unindexed: Slots
    """What leaves the index, before `indexed` enters."""
    indexed: Slots
    indexed_codes: Codes
    moved: Slots
    """Devices whose taste moved."""

    def apply(self, table: Table, lsn: int) -> None:
        """Bring the table's pattern rows, lists, directory and support to the new state."""
        if len(self.freed):
            table.pattern_directory.remove(_keys_of(table.patterns[self.freed]))
            table.patterns[self.freed] = np.zeros(1, PATTERN)
            table.patterns["lsn"][self.freed] = lsn
        new = self.slots[self.is_new]
        if len(new):
            table.free_patterns.take(len(new))
            table.pattern_directory.put(_keys_of(self.rows[self.is_new]), new)
        table.free_patterns.free(self.freed)
        table.patterns[self.slots] = self.rows
        table.unlink(self.unlinked)
        table.link(self.devices, self.linked)
        np.add.at(table.support, self.gained, np.uint32(1))
        np.subtract.at(table.support, self.lost, np.uint32(1))


def is_shared(rows: PatternRows, rules: Rules) -> NDArray[np.bool_]:
    """Say which rows may be shown to other devices; a free slot may not."""
    shared: NDArray[np.bool_] = (rows["sample_count"] > 0) & (
        rows["success_rate"] >= np.float32(rules.share_threshold)
    )
    return shared


def _words_of(ids: bytes | PatternRows) -> NDArray[np.uint64]:
    return np.frombuffer(bytes(ids) if isinstance(ids, bytes) else ids.tobytes(), "<u8").reshape(
        -1, 2
    )


def _keys_of(rows: PatternRows) -> NDArray[np.uint64]:
    return pattern_keys(_words_of(rows["pattern_id"]), rows["device"].astype(np.int64))
