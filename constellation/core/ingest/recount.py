"""Recount: what changes when devices begin, or cease, to count for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import BLOCK_ROWS, PATTERN
from constellation.core.store import no_slots
from constellation.core.table.change import PatternChange
from constellation.core.table.shard_table import DevicePatterns
from constellation.core.table.standing import compute_standing
from constellation.core.table.support import Supports, pack_support

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.core.rules import Rules
    from constellation.core.table.shard_table import Table

RECOUNT_BATCH: Final = 256
"""Devices that are recounted at once: about a millisecond on the event loop."""


def find_restanding(table: Table, rules: Rules, today: int) -> Slots:
    """Return the devices whose counting is not what it should be on a day, ascending.

    Looks at every device: belongs in a worker thread.
    """
    used = table.device_allocator.high_water
    found = [no_slots()]
    for start in range(0, used, BLOCK_ROWS):
        devices = np.arange(start, min(start + BLOCK_ROWS, used))
        numbers = find_standing(table, rules, devices, today)
        found.append(devices[numbers != table.standing.numbers[devices]])
    return np.concatenate(found)


def find_standing(table: Table, rules: Rules, devices: Slots, today: int) -> NDArray[np.uint8]:
    """Return the origin number with which each device should count on a day; 0 for none."""
    numbers = compute_standing(table.devices[devices], today, rules.min_device_age_days)
    numbers[table.relocated[devices]] = 0
    return numbers


def plan_recount(table: Table, devices: Slots, numbers: NDArray[np.uint8]) -> PatternChange:
    """Return what changes when distinct devices count with new origin numbers from now on.

    Their patterns, as they are stored, enter or leave the support of content and, at the next fold,
    the sums; the groups of those that leave are dissolved. No row changes.
    """
    stored, before = table.find_patterns(devices), table.standing.numbers[devices]
    pairs = pack_support(stored.owners, table.patterns["contents"][stored.slots])
    return PatternChange(
        slots=no_slots(),
        rows=np.empty(0, PATTERN),
        is_new=np.empty(0, np.bool_),
        freed_slots=no_slots(),
        devices=no_slots(),
        unlinked_devices=no_slots(),
        linked_patterns=DevicePatterns(no_slots(), no_slots()),
        gained=Supports.unpack(pairs, numbers),
        lost=Supports.unpack(pairs, before),
        taste_moved_devices=no_slots(),
        recounted_devices=devices,
        recounted_numbers=numbers,
    )


def count_devices(table: Table, rules: Rules, today: int) -> None:
    """Let the devices of a table that was just loaded count: there are no sums yet."""
    devices = find_restanding(table, rules, today)
    for start in range(0, len(devices), BLOCK_ROWS):
        block = devices[start : start + BLOCK_ROWS]
        numbers = find_standing(table, rules, block, today)
        plan_recount(table, block, numbers).apply(table, table.totals.lsn)
