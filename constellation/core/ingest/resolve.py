"""From the operations of a group of deltas to the rows that change, whatever their order was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.ingest.deltas import Delta, RejectionReason
from constellation.core.table.change import PatternChange, _to_uint64_pairs, is_shared
from constellation.core.table.shard_table import DevicePatterns, Table, to_pattern_keys
from constellation.encoding import ID_BYTES, normalise_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.ingest.decode import Upserts
    from constellation.core.rows import PatternRows, Slots
    from constellation.core.rules import Rules

_TASTE_MOVED_COSINE: Final = 0.95
"""A pattern that turned further than this moved its device's taste."""
_CONTENT_BITS: Final = np.uint64(32)


@dataclass(frozen=True, slots=True, eq=False)
class DeltaGroup:
    """The applied deltas of one commit."""

    deltas: Sequence[Delta]
    device_positions: NDArray[np.int64]
    """For each delta, which of the devices sent it."""
    upserts: Upserts
    delta_positions: NDArray[np.int64]
    """For each row of `upserts`, which of `deltas` it came in."""
    is_expiry: bool = False
    """Every device loses all its patterns."""

    def find_last_snapshots(self, device_count: int) -> NDArray[np.int64]:
        """Return, for each device, its last snapshot among the deltas; -1 for none."""
        cleared = np.full(device_count, 0 if self.is_expiry else -1, np.int64)
        for index, delta in enumerate(self.deltas):
            if delta.is_snapshot:
                cleared[self.device_positions[index]] = index
        return cleared


@dataclass(frozen=True, slots=True, eq=False)
class _LastOperations:
    """What happens last to each (device, pattern id) of a group."""

    keys: NDArray[np.uint64]
    """Directory keys, shape (n, 3)."""
    device_positions: NDArray[np.int64]
    """Which of the devices owns the pattern."""
    rows: NDArray[np.int64]
    """The row of the upserts that the pattern becomes; -1 when it is removed."""

    def select(self, chosen: NDArray[np.bool_]) -> _LastOperations:
        return _LastOperations(self.keys[chosen], self.device_positions[chosen], self.rows[chosen])


def resolve(
    table: Table,
    rules: Rules,
    devices: Slots,
    group: DeltaGroup,
) -> PatternChange:
    """Work out what a group changes in the patterns of distinct `devices`.

    Patterns beyond a device's or the shard's capacity get their reason in `group.upserts`.
    """
    steps = _find_last_operations(devices, group)
    existing = table.slots_by_pattern.find(steps.keys)
    is_upsert = steps.rows >= 0
    updated = is_upsert & (existing >= 0)
    removed = ~is_upsert & (existing >= 0)
    old = existing[updated]

    cleared = group.find_last_snapshots(len(devices)) >= 0
    scanned = _find_devices_to_scan(table, cleared, steps, existing, group)
    before = table.find_patterns(np.where(scanned, devices, -1))
    gone = np.isin(before.slots, existing[removed])
    gone |= cleared[before.owners] & ~np.isin(before.slots, old)
    kept = DevicePatterns(before.owners[~gone], before.slots[~gone])
    freed = before.slots[gone]

    room = _compute_room(table, rules, devices, before.owners[gone])
    new = _admit_new(table, steps.select(is_upsert & ~updated), room, group)
    fresh = table.pattern_allocator.peek(len(new.rows))
    slots = np.concatenate([old, fresh])
    rows = group.upserts.rows[np.concatenate([steps.rows[updated], new.rows])]
    rows["device"] = devices[
        np.concatenate([steps.device_positions[updated], new.device_positions])
    ]

    added = scanned[new.device_positions]
    after = _join_patterns(kept, new.device_positions[added], fresh[added])
    gained, lost = _compute_support_change(table, before, after, slots, rows)
    unindexed, indexed = _compute_index_change(table, rules, slots, rows, freed)
    return PatternChange(
        slots=slots,
        rows=rows,
        is_new=np.arange(len(slots)) >= len(old),
        freed_slots=freed,
        devices=devices,
        unlinked_devices=devices[scanned],
        linked_patterns=_join_patterns(after, new.device_positions[~added], fresh[~added]),
        gained_contents=gained,
        lost_contents=lost,
        unindexed_slots=unindexed,
        indexed_slots=slots[indexed],
        indexed_codes=rows["codes"][indexed],
        taste_moved_devices=_find_taste_moved(table, devices, old, rows, before.owners[gone]),
    )


def _find_devices_to_scan(
    table: Table,
    cleared: NDArray[np.bool_],
    steps: _LastOperations,
    existing: Slots,
    group: DeltaGroup,
) -> NDArray[np.bool_]:
    """Say of which devices all patterns must be looked at.

    Those that lose some, and those whose supporting contents may change; the others are spared.
    """
    scanned = cleared.copy()
    stored = existing >= 0
    scanned[steps.device_positions[(steps.rows < 0) & stored]] = True
    upserts = steps.rows >= 0
    named = group.upserts.rows["contents"][steps.rows[upserts], 0] > 0
    scanned[steps.device_positions[upserts][named]] = True
    named_before = table.patterns["contents"][existing[stored], 0] > 0
    scanned[steps.device_positions[stored][named_before]] = True
    return scanned


def _compute_room(
    table: Table, rules: Rules, devices: Slots, gone: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many new patterns each device may have; `gone` are the owners of freed ones."""
    left = table.pattern_counts[devices].astype(np.int64)
    left -= np.bincount(gone, minlength=len(devices))
    return rules.max_patterns_per_device - left


def _find_last_operations(devices: Slots, group: DeltaGroup) -> _LastOperations:
    """Return the last operation on each pattern; within one delta removals come first.

    A pattern that must not be stored counts as removed: what it was before is no longer true.
    """
    removed = [delta.removed_ids for delta in group.deltas]
    removals = np.repeat(np.arange(len(removed)), [len(ids) // ID_BYTES for ids in removed])
    usable = group.upserts.reasons == 0
    rows = np.where(usable, np.arange(len(usable)), -1)
    sent = np.concatenate([removals, group.delta_positions])
    order = np.concatenate([2 * removals, 2 * group.delta_positions + 1])
    positions = group.device_positions[sent]
    ids = np.concatenate(
        [_to_uint64_pairs(b"".join(removed)), _to_uint64_pairs(group.upserts.rows["pattern_id"])]
    )
    keys = to_pattern_keys(ids, devices[positions])
    target = np.concatenate([np.full(len(removals), -1), rows])

    live = sent >= group.find_last_snapshots(len(devices))[positions]
    sorting = np.lexsort((np.arange(len(order)), order, *keys.T))
    sorting = sorting[live[sorting]]
    keys = keys[sorting]
    last = np.ones(len(keys), bool)
    last[:-1] = (keys[1:] != keys[:-1]).any(axis=1)
    return _LastOperations(keys[last], positions[sorting][last], target[sorting][last])


def _admit_new(
    table: Table, new: _LastOperations, room: NDArray[np.int64], group: DeltaGroup
) -> _LastOperations:
    """Return the new patterns there is room for; the others get their reason."""
    order = np.lexsort((new.rows, new.device_positions))
    new = new.select(order)  # type: ignore[arg-type]  # any index array selects rows
    starts = np.searchsorted(new.device_positions, new.device_positions)
    beyond = np.arange(len(starts)) - starts >= room[new.device_positions]
    group.upserts.reasons[new.rows[beyond]] = RejectionReason.TOO_MANY_PATTERNS
    new = new.select(~beyond)
    overflow = np.arange(len(new.rows)) >= table.pattern_allocator.free_count()
    group.upserts.reasons[new.rows[overflow]] = RejectionReason.SHARD_FULL
    return new.select(~overflow)


def _join_patterns(
    kept: DevicePatterns, positions: NDArray[np.int64], slots: Slots
) -> DevicePatterns:
    owners = np.concatenate([kept.owners, positions])
    order = np.argsort(owners, kind="stable")
    return DevicePatterns(owners[order], np.concatenate([kept.slots, slots])[order])


def _compute_support_change(
    table: Table, before: DevicePatterns, after: DevicePatterns, slots: Slots, rows: PatternRows
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the contents that gained and lost a supporting device."""
    if not len(before.slots) and not len(after.slots):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    contents = table.patterns["contents"]
    old = _pack_support_pairs(before.owners, contents[before.slots])
    sorting = np.argsort(slots)
    positions = np.minimum(
        np.searchsorted(slots, after.slots, sorter=sorting), max(len(slots) - 1, 0)
    )
    now = contents[after.slots]
    if len(slots):
        positions = sorting[positions]
        changed = slots[positions] == after.slots
        now[changed] = rows["contents"][positions[changed]]
    new = _pack_support_pairs(after.owners, now)
    mask = np.uint64(0xFFFFFFFF)
    gained = np.setdiff1d(new, old, assume_unique=True) & mask
    lost = np.setdiff1d(old, new, assume_unique=True) & mask
    return gained.astype(np.int64), lost.astype(np.int64)


def _pack_support_pairs(
    owners: NDArray[np.int64], contents: NDArray[np.uint32]
) -> NDArray[np.uint64]:
    """Return distinct (device, content) pairs, packed."""
    pairs = (owners.astype(np.uint64) << _CONTENT_BITS)[:, None] | contents.astype(np.uint64)
    return np.unique(pairs[contents > 0])


def _compute_index_change(
    table: Table, rules: Rules, slots: Slots, rows: PatternRows, freed: Slots
) -> tuple[Slots, NDArray[np.bool_]]:
    """Return what leaves the index, and which of the rows enter it."""
    was = is_shared(table.patterns[slots], rules)
    now = is_shared(rows, rules)
    same = was & now & (table.patterns["codes"][slots] == rows["codes"]).all(axis=1)
    gone = table.patterns[freed]
    left = freed[is_shared(gone, rules) & ~table.relocated[gone["device"]]]
    return np.concatenate([left, slots[was & ~same]]), now & ~same


def _find_taste_moved(
    table: Table, devices: Slots, old: Slots, rows: PatternRows, freed_owners: NDArray[np.int64]
) -> Slots:
    """Return the devices that gained or lost a pattern, or had one turn.

    The first of the rows replace `old` ones, the others are new.
    """
    turned = np.ones(len(rows), bool)
    if len(old):
        before, after = (
            normalise_codes(table.patterns["codes"][old]),
            normalise_codes(rows["codes"][: len(old)]),
        )
        turned[: len(old)] = np.einsum("ij,ij->i", before, after) < _TASTE_MOVED_COSINE
    moved = np.concatenate([rows["device"][turned].astype(np.int64), devices[freed_owners]])
    return np.unique(moved)
