"""Resolves the operations of a group of deltas into the pattern rows that one commit changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.distinct import find_distinct
from constellation.core.ingest.deltas import Delta, RejectionReason
from constellation.core.table.change import PatternChange
from constellation.core.table.shard_table import (
    DevicePatterns,
    Table,
    no_patterns,
    to_pattern_keys,
)
from constellation.core.table.support import Supports, no_supports, pack_support
from constellation.encoding import ID_BYTES, normalise_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.ingest.decode import Upserts
    from constellation.core.rows import PatternRows, Slots
    from constellation.core.rules import Rules

_TASTE_MOVED_COSINE: Final = 0.95
"""A device's taste moved when one of its patterns turned further than this."""


@dataclass(frozen=True, slots=True, eq=False)
class DeltaGroup:
    """The applied deltas of one commit."""

    deltas: Sequence[Delta]
    device_positions: NDArray[np.int64]
    """For each delta, the position of its device among the group's devices."""
    upserts: Upserts
    delta_positions: NDArray[np.int64]
    """For each row of `upserts`, the position of its delta in `deltas`."""
    standing: NDArray[np.uint8]
    """For each of the group's devices, the origin number with which it counts; 0 if it does not."""
    weekly_room: NDArray[np.int64]
    """For each of the group's devices, how many new patterns may still be stored this week."""
    is_expiry: bool = False
    """Whether every device loses all its patterns; there are no deltas then."""

    def find_last_snapshots(self, device_count: int) -> NDArray[np.int64]:
        """Return the position of each device's last snapshot among the deltas; -1 for none.

        An expiry counts as a snapshot without patterns, at position 0.
        """
        snapshots = np.full(device_count, 0 if self.is_expiry else -1, np.int64)
        for index, delta in enumerate(self.deltas):
            if delta.is_snapshot:
                snapshots[self.device_positions[index]] = index
        return snapshots


@dataclass(frozen=True, slots=True, eq=False)
class Resolution:
    """The change of a group of deltas, and why some of its patterns are not part of it."""

    change: PatternChange
    reasons: NDArray[np.uint8]
    """For each row of the upserts, a RejectionReason; 0 for a pattern that is not rejected."""
    new_counts: NDArray[np.uint16]
    """For each of the group's devices, how many patterns are stored that it did not have."""


@dataclass(frozen=True, slots=True, eq=False)
class _Operations:
    """The last operation of a group on each (device, pattern id), column by column."""

    keys: NDArray[np.uint64]
    """Shape (n, 3): the HashIndex key of each pattern."""
    device_positions: NDArray[np.int64]
    """The position of each pattern's device among the group's devices."""
    rows: NDArray[np.int64]
    """The row of the upserts that the pattern becomes; -1 when it is removed."""
    slots: Slots
    """The slot of the stored pattern; -1 when it is not stored."""

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> _Operations:
        return _Operations(
            self.keys[chosen],
            self.device_positions[chosen],
            self.rows[chosen],
            self.slots[chosen],
        )

    def select_updates(self) -> _Operations:
        """Return the operations that replace a stored pattern."""
        return self.select((self.rows >= 0) & (self.slots >= 0))

    def select_inserts(self) -> _Operations:
        """Return the operations that add a pattern."""
        return self.select((self.rows >= 0) & (self.slots < 0))

    def find_updated_slots(self) -> Slots:
        """Return the slots of the stored patterns that are replaced."""
        return self.slots[(self.rows >= 0) & (self.slots >= 0)]

    def find_removed_slots(self) -> Slots:
        """Return the slots of the stored patterns that are removed."""
        return self.slots[(self.rows < 0) & (self.slots >= 0)]


@dataclass(frozen=True, slots=True, eq=False)
class _Scan:
    """The stored patterns of the devices whose lists must be read, and which of them go."""

    is_scanned: NDArray[np.bool_]
    """For each of the group's devices, whether its list was read."""
    stored: DevicePatterns
    is_freed: NDArray[np.bool_]
    """For each of `stored`, whether the group removes it without a replacement."""

    @property
    def kept(self) -> DevicePatterns:
        return DevicePatterns(self.stored.owners[~self.is_freed], self.stored.slots[~self.is_freed])

    @property
    def freed(self) -> DevicePatterns:
        return DevicePatterns(self.stored.owners[self.is_freed], self.stored.slots[self.is_freed])


@dataclass(frozen=True, slots=True, eq=False)
class _Written:
    """The pattern rows that a group writes: updates first, then inserts."""

    slots: Slots
    rows: PatternRows
    device_positions: NDArray[np.int64]
    """The position of each row's device among the group's devices."""
    update_count: int


def resolve(table: Table, rules: Rules, devices: Slots, group: DeltaGroup) -> Resolution:
    """Return what a group changes in the patterns of distinct `devices`.

    Patterns beyond the capacity of their device or of the shard are rejected. The table does not
    change.
    """
    operations = _find_last_operations(table, devices, group)
    scan = _scan_devices(table, devices, operations, group)
    freed = scan.freed
    room = _compute_room(table, rules, devices, freed.owners)
    updates = operations.select_updates()
    inserts, reasons = _admit_inserts(table, operations.select_inserts(), room, group)
    new_slots = table.pattern_allocator.peek(len(inserts.rows))
    written = _collect_written(devices, group.upserts.rows, updates, inserts, new_slots)

    in_scanned = scan.is_scanned[inserts.device_positions]
    linked = _join_patterns(scan.kept, inserts.device_positions[in_scanned], new_slots[in_scanned])
    gained, lost = _compute_support_change(table, scan.stored, linked, written, group.standing)
    is_recounted = group.standing != table.standing.numbers[devices]
    change = PatternChange(
        slots=written.slots,
        rows=written.rows,
        is_new=np.arange(len(written.slots)) >= written.update_count,
        freed_slots=freed.slots,
        devices=devices,
        unlinked_devices=devices[scan.is_scanned],
        linked_patterns=_join_patterns(
            linked, inserts.device_positions[~in_scanned], new_slots[~in_scanned]
        ),
        gained=gained,
        lost=lost,
        taste_moved_devices=_find_taste_moved(table, written, devices[freed.owners]),
        recounted_devices=devices[is_recounted],
        recounted_numbers=group.standing[is_recounted],
    )
    new_counts = np.bincount(inserts.device_positions, minlength=len(devices)).astype(np.uint16)
    return Resolution(change, reasons, new_counts)


def _find_last_operations(table: Table, devices: Slots, group: DeltaGroup) -> _Operations:
    """Return the last operation on each pattern; within one delta, removals come first.

    A rejected pattern counts as removed, because its older revision is no longer true. Operations
    before the last snapshot of a device do not count.
    """
    removed = [delta.removed_ids for delta in group.deltas]
    removals = np.repeat(np.arange(len(removed)), [len(ids) // ID_BYTES for ids in removed])
    usable = group.upserts.reasons == 0
    rows = np.where(usable, np.arange(len(usable)), -1)
    deltas = np.concatenate([removals, group.delta_positions])
    order = np.concatenate([2 * removals, 2 * group.delta_positions + 1])
    positions = group.device_positions[deltas]
    ids = b"".join([*removed, group.upserts.rows["pattern_id"].tobytes()])
    keys = to_pattern_keys(ids, devices[positions])
    target_rows = np.concatenate([np.full(len(removals), -1), rows])

    counts = deltas >= group.find_last_snapshots(len(devices))[positions]
    sorting = np.lexsort((np.arange(len(order)), order, *keys.T))
    sorting = sorting[counts[sorting]]
    keys = keys[sorting]
    is_last = np.ones(len(keys), bool)
    is_last[:-1] = (keys[1:] != keys[:-1]).any(axis=1)
    keys, last = keys[is_last], sorting[is_last]
    return _Operations(keys, positions[last], target_rows[last], table.slots_by_pattern.find(keys))


def _scan_devices(
    table: Table, devices: Slots, operations: _Operations, group: DeltaGroup
) -> _Scan:
    """Read the lists of the devices that lose patterns or whose support may change."""
    is_cleared = group.find_last_snapshots(len(devices)) >= 0
    is_scanned = _find_devices_to_scan(table, is_cleared, operations, group.upserts.rows)
    if not is_scanned.any():
        return _Scan(is_scanned, no_patterns(), np.empty(0, np.bool_))
    stored = table.find_patterns(np.where(is_scanned, devices, -1))
    is_freed = np.isin(stored.slots, operations.find_removed_slots())
    is_freed |= is_cleared[stored.owners] & ~np.isin(stored.slots, operations.find_updated_slots())
    return _Scan(is_scanned, stored, is_freed)


def _find_devices_to_scan(
    table: Table,
    is_cleared: NDArray[np.bool_],
    operations: _Operations,
    upserts: PatternRows,
) -> NDArray[np.bool_]:
    """Return which devices' lists must be read; reading the other lists would cost time only.

    These are the devices that lose patterns, and those whose patterns name, or named, content.
    """
    is_scanned = is_cleared.copy()
    positions, is_stored = operations.device_positions, operations.slots >= 0
    is_scanned[positions[(operations.rows < 0) & is_stored]] = True
    is_upsert = operations.rows >= 0
    names_content = upserts["contents"][operations.rows[is_upsert], 0] > 0
    is_scanned[positions[is_upsert][names_content]] = True
    named_content = table.patterns["contents"][operations.slots[is_stored], 0] > 0
    is_scanned[positions[is_stored][named_content]] = True
    return is_scanned


def _compute_room(
    table: Table, rules: Rules, devices: Slots, freed_owners: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many new patterns each device may have."""
    kept = table.pattern_counts[devices].astype(np.int64)
    kept -= np.bincount(freed_owners, minlength=len(devices))
    return rules.max_patterns_per_device - kept


def _admit_inserts(
    table: Table, inserts: _Operations, room: NDArray[np.int64], group: DeltaGroup
) -> tuple[_Operations, NDArray[np.uint8]]:
    """Return the inserts for which there is room, and the reasons with those of the others."""
    reasons = group.upserts.reasons.copy()
    inserts = inserts.select(np.lexsort((inserts.rows, inserts.device_positions)))
    starts = np.searchsorted(inserts.device_positions, inserts.device_positions)
    ranks = np.arange(len(starts)) - starts
    is_beyond_week = ranks >= group.weekly_room[inserts.device_positions]
    is_beyond = ranks >= room[inserts.device_positions]
    reasons[inserts.rows[is_beyond_week]] = RejectionReason.TOO_MANY_NEW_PATTERNS
    reasons[inserts.rows[is_beyond]] = RejectionReason.TOO_MANY_PATTERNS
    inserts = inserts.select(~(is_beyond | is_beyond_week))
    is_overflow = np.arange(len(inserts.rows)) >= table.pattern_allocator.free_count()
    reasons[inserts.rows[is_overflow]] = RejectionReason.SHARD_FULL
    return inserts.select(~is_overflow), reasons


def _collect_written(
    devices: Slots,
    upserts: PatternRows,
    updates: _Operations,
    inserts: _Operations,
    new_slots: Slots,
) -> _Written:
    rows = upserts[np.concatenate([updates.rows, inserts.rows])]
    owners = np.concatenate([updates.device_positions, inserts.device_positions])
    rows["device"] = devices[owners]
    return _Written(np.concatenate([updates.slots, new_slots]), rows, owners, len(updates.rows))


def _join_patterns(
    patterns: DevicePatterns, positions: NDArray[np.int64], slots: Slots
) -> DevicePatterns:
    """Return the patterns and those at `slots`, whose devices are at `positions`."""
    owners = np.concatenate([patterns.owners, positions])
    order = np.argsort(owners, kind="stable")
    return DevicePatterns(owners[order], np.concatenate([patterns.slots, slots])[order])


def _compute_support_change(
    table: Table,
    before: DevicePatterns,
    after: DevicePatterns,
    written: _Written,
    standing: NDArray[np.uint8],
) -> tuple[Supports, Supports]:
    """Return the content items that gained and that lost a supporting device that counts.

    `before` and `after` are the patterns of the scanned devices; `after` may hold written rows.
    """
    if not len(before.slots) and not len(after.slots):
        return no_supports(), no_supports()
    contents = table.patterns["contents"]
    old = pack_support(before.owners, contents[before.slots])
    now = contents[after.slots]
    if len(written.slots):
        sorting = np.argsort(written.slots)
        positions = np.searchsorted(written.slots, after.slots, sorter=sorting)
        positions = sorting[np.minimum(positions, len(written.slots) - 1)]
        is_written = written.slots[positions] == after.slots
        now[is_written] = written.rows["contents"][positions[is_written]]
    new = pack_support(after.owners, now)
    gained = np.setdiff1d(new, old, assume_unique=True)
    lost = np.setdiff1d(old, new, assume_unique=True)
    return Supports.unpack(gained, standing), Supports.unpack(lost, standing)


def _find_taste_moved(table: Table, written: _Written, losing_devices: Slots) -> Slots:
    """Return the devices that gained or lost a pattern, or that have one that turned."""
    turned = np.ones(len(written.rows), bool)
    if written.update_count:
        updated = slice(0, written.update_count)
        before = normalise_codes(table.patterns["codes"][written.slots[updated]])
        after = normalise_codes(written.rows["codes"][updated])
        turned[updated] = np.einsum("ij,ij->i", before, after) < _TASTE_MOVED_COSINE
    gaining_devices = written.rows["device"][turned].astype(np.int64)
    return find_distinct(np.concatenate([gaining_devices, losing_devices]))
