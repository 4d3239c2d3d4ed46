"""Which patterns may be merged into shared patterns, and which of them wait for companions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import BLOCK_ROWS, Slots
from constellation.core.table.groups import STALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.table.shard_table import Table


@dataclass(frozen=True, slots=True, eq=False)
class WaitingPatterns:
    """Patterns that may be merged and are in no group, by ascending slot."""

    slots: Slots
    is_fresh: NDArray[np.bool_]
    """Which of them were never in a published group; the others are stale."""


def may_be_merged(table: Table, rules: Rules, slots: Slots) -> NDArray[np.bool_]:
    """Return which patterns may be merged; free slots may not."""
    patterns = table.patterns
    merged: NDArray[np.bool_] = (
        table.counts_for_others(patterns["device"][slots])
        & (patterns["sample_count"][slots] > 0)
        & (patterns["success_rate"][slots] >= np.float32(rules.share_threshold))
    )
    return merged


def find_waiting(table: Table, rules: Rules) -> WaitingPatterns:
    """Return the patterns that wait for a group. Looks at every slot: belongs in a thread.

    Without any protection, K_ANONYMITY=1, a pattern that was shown once may be shown again.
    """
    groups, used = table.groups, table.pattern_allocator.high_water
    found = [np.empty(0, np.int64)]
    for start in range(0, used, BLOCK_ROWS):
        owners = groups.owners[start : min(start + BLOCK_ROWS, used)]
        slots = np.flatnonzero((owners == 0) | (owners == STALE)) + start
        found.append(slots[may_be_merged(table, rules, slots)])
    slots = np.concatenate(found)
    return WaitingPatterns(slots, (groups.owners[slots] == 0) | (groups.min_members == 1))
