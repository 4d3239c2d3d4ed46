"""Planning: what a group of deltas changes, worked out before anything is written.

A plan changes nothing itself. The store makes `Plan.changes` durable, and only then does
`Plan.apply` bring the table to the same state; a plan whose commit failed is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.ingest.cursors import Cursor, judge
from constellation.core.ingest.decode import Upserts, gather
from constellation.core.ingest.deltas import Delta, Reason, Receipt, Rejected, Verdict
from constellation.core.ingest.resolve import Group, resolve
from constellation.core.ingest.signals import SignalTally
from constellation.core.rows import DEVICE, DeviceRows, Slots, WordKind, digest
from constellation.core.store import Changes
from constellation.core.table.hourly import HOURS, HourlyRing
from constellation.core.table.shard_table import Table, device_keys
from constellation.core.table.vocabulary import NewWords

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.table.change import PatternChange

_SECONDS_PER_HOUR: Final = 3600
_MODULUS: Final = 2**64


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What one group of deltas changes."""

    changes: Changes
    """For the store. Its lsn is the table's when there is nothing to write."""
    receipts: Sequence[Receipt]
    """One for each delta, in order."""
    patterns: PatternChange
    new_devices: NDArray[np.bool_]
    """Which of `changes.device_slots` were free before."""

    @property
    def is_empty(self) -> bool:
        return not len(self.changes.device_slots) and not len(self.changes.freed_devices)


def plan(table: Table, ring: HourlyRing, rules: Rules, deltas: Sequence[Delta], now: float) -> Plan:
    """Work out what becomes of deltas, in order. `now` is in seconds since 1970."""
    devices = _Devices.of(table, deltas)
    verdicts = [devices.judge(index, delta) for index, delta in enumerate(deltas)]
    applied = [index for index, verdict in enumerate(verdicts) if verdict is Verdict.APPLIED]
    words = NewWords(table.words)
    tally = SignalTally(ring, table.content_genres, int(now) // _SECONDS_PER_HOUR)
    dropped = {index: devices.signals(index, deltas[index], tally, words) for index in applied}

    upserts, senders = _gathered(deltas, applied, words, rules)
    touched = devices.touched(applied, int(now))
    group = Group([deltas[index] for index in applied], touched.positions, upserts, senders)
    change = resolve(table, rules, touched.slots, group)
    rejected = _rejections(deltas, applied, upserts, senders)
    receipts = [
        Receipt(
            verdict,
            devices.through_seqs[index],
            rejected.get(index, ()),
            dropped.get(index, 0),
        )
        for index, verdict in enumerate(verdicts)
    ]
    changes = Changes(
        totals=table.totals,
        slots=change.slots,
        rows=change.rows,
        freed=change.freed,
        device_slots=touched.slots,
        device_rows=touched.rows,
        words=words.words(),
        counts=tally.counts(),
        oldest_hour=max(0, int(now) // _SECONDS_PER_HOUR - HOURS + 1),
    )
    return Plan(_totalled(table, changes, touched.is_new), receipts, change, touched.is_new)


def plan_expiry(table: Table, devices: Slots, rules: Rules) -> Plan:
    """Work out what removing distinct devices, with all their patterns, changes."""
    nothing = gather([], NewWords(table.words), 0.0)
    group = Group((), np.empty(0, np.int64), nothing, np.empty(0, np.int64), expired=True)
    change = resolve(table, rules, devices, group)
    changes = Changes(totals=table.totals, freed=change.freed, freed_devices=devices)
    return Plan(_totalled(table, changes, np.empty(0, bool)), (), change, np.empty(0, bool))


def apply(table: Table, ring: HourlyRing, planned: Plan) -> None:
    """Bring the table to the state that the plan's changes describe."""
    changes, change = planned.changes, planned.patterns
    new = changes.device_slots[planned.new_devices]
    if len(new):
        table.free_devices.take(len(new))
        ids = changes.device_rows["device_id"][planned.new_devices].tobytes()
        table.device_directory.put(device_keys(ids), new)
    table.devices[changes.device_slots] = changes.device_rows
    change.apply(table, changes.totals.lsn)
    if len(changes.freed_devices):
        ids = table.devices["device_id"][changes.freed_devices].tobytes()
        table.device_directory.remove(device_keys(ids))
        table.devices[changes.freed_devices] = np.zeros(1, DEVICE)
        table.devices_away -= int(np.count_nonzero(table.away[changes.freed_devices]))
        table.away[changes.freed_devices] = False
        table.free_devices.free(changes.freed_devices)
    table.words.add(changes.words)
    ring.put(changes.counts)
    table.totals = changes.totals


@dataclass(frozen=True, slots=True, eq=False)
class _Touched:
    """The devices a group changes."""

    slots: Slots
    rows: DeviceRows
    is_new: NDArray[np.bool_]
    positions: NDArray[np.int64]
    """For each applied delta, which of `slots` sent it."""


@dataclass(slots=True, eq=False)
class _Devices:
    """The devices of one group of deltas, moving from cursor to cursor."""

    table: Table
    positions: list[int]
    """For each delta, its device's position in `slots`."""
    slots: Slots
    """-1 for a device the table does not know."""
    rows: DeviceRows
    cursors: list[Cursor | None]
    through_seqs: list[int]
    room: int
    """Devices that can still be admitted."""

    @classmethod
    def of(cls, table: Table, deltas: Sequence[Delta]) -> _Devices:
        numbered: dict[bytes, int] = {}
        positions = [numbered.setdefault(delta.device_id, len(numbered)) for delta in deltas]
        ids = b"".join(numbered)
        slots = table.device_directory.find(device_keys(ids))
        known = slots >= 0
        rows = np.zeros(len(slots), DEVICE)
        rows["device_id"] = np.frombuffer(ids, "V16")
        rows[known] = table.devices[slots[known]]
        cursors = [
            Cursor(incarnation, seq) if is_known else None
            for incarnation, seq, is_known in zip(
                rows["incarnation"].tolist(), rows["seq"].tolist(), known.tolist(), strict=True
            )
        ]
        return cls(table, positions, slots, rows, cursors, [], table.free_devices.available())

    def judge(self, index: int, delta: Delta) -> Verdict:
        """Return a delta's verdict, and move its device's cursor when it applies."""
        position = self.positions[index]
        cursor = self.cursors[position]
        verdict = judge(delta, cursor)
        if verdict is Verdict.APPLIED and cursor is None and self.slots[position] < 0:
            if not self.room:
                verdict = Verdict.REFUSED
            self.room -= verdict is Verdict.APPLIED
        if verdict is Verdict.APPLIED:
            cursor = self.cursors[position] = Cursor(delta.incarnation, delta.seq)
        is_same = cursor is not None and cursor.incarnation == delta.incarnation
        self.through_seqs.append(cursor.seq if cursor and is_same else 0)
        return verdict

    def signals(self, index: int, delta: Delta, tally: SignalTally, words: NewWords) -> int:
        """Count a delta's signals; return how many were dropped."""
        if not delta.signal_contents:
            return 0
        row = self.rows[self.positions[index]]
        dropped = 0
        for hour, text in zip(delta.signal_hours, delta.signal_contents, strict=True):
            if tally.has_room(row, hour):  # else its content needs no number
                (content,) = words.numbers(WordKind.CONTENT, [text])
                dropped += not tally.admit(row, hour, content)
            else:
                dropped += 1
        return dropped

    def touched(self, applied: Sequence[int], now: int) -> _Touched:
        """Return the devices with an applied delta, their rows at their new cursors."""
        senders = [self.positions[index] for index in applied]
        chosen = sorted(set(senders))
        rank = {position: place for place, position in enumerate(chosen)}
        slots, rows = self.slots[chosen], self.rows[chosen]
        is_new = slots < 0
        slots[is_new] = self.table.free_devices.peek(int(is_new.sum()))
        moved = [cursor for cursor in (self.cursors[position] for position in chosen) if cursor]
        rows["incarnation"] = [cursor.incarnation for cursor in moved]
        rows["seq"] = [cursor.seq for cursor in moved]
        rows["synced_at"] = now
        return _Touched(
            slots, rows, is_new, np.array([rank[sender] for sender in senders], np.int64)
        )


def _gathered(
    deltas: Sequence[Delta], applied: Sequence[int], words: NewWords, rules: Rules
) -> tuple[Upserts, NDArray[np.int64]]:
    """Return the patterns of the applied deltas, and for each row which of them sent it."""
    batches = []
    owners = []
    for place, index in enumerate(applied):
        batch = deltas[index].upserts
        if batch is not None:
            batches.append(batch)
            owners.append(place)
    upserts = gather(batches, words, rules.quality_threshold)
    return upserts, np.array(owners, np.int64)[upserts.sources]


def _rejections(
    deltas: Sequence[Delta],
    applied: Sequence[int],
    upserts: Upserts,
    senders: NDArray[np.int64],
) -> dict[int, list[Rejected]]:
    """Return the rejected patterns of each delta; few, so one at a time."""
    rejected: dict[int, list[Rejected]] = {}
    for row in np.flatnonzero(upserts.reasons).tolist():
        index = applied[int(senders[row])]
        pattern_id = upserts.rows["pattern_id"][row].tobytes()
        reason = Reason(int(upserts.reasons[row]))
        rejected.setdefault(index, []).append(Rejected(deltas[index].seq, pattern_id, reason))
    return rejected


def _totalled(table: Table, changes: Changes, new_devices: NDArray[np.bool_]) -> Changes:
    """Give the rows their lsn, and the changes the totals after them."""
    if not len(changes.device_slots) and not len(changes.freed_devices):
        return changes
    before = table.totals
    lsn = before.lsn + 1
    changes.rows["lsn"] = lsn
    replaced = changes.slots[_is_stored(table, changes.slots)]
    gone = np.concatenate([replaced, changes.freed])
    known = changes.device_slots[~new_devices]
    gone_devices = np.concatenate([known, changes.freed_devices])
    totals = replace(
        before,
        lsn=lsn,
        patterns=before.patterns + len(changes.slots) - len(gone),
        devices=before.devices + len(changes.device_slots) - len(gone_devices),
        pattern_digest=(
            before.pattern_digest
            + digest(changes.slots, changes.rows)
            - digest(gone, table.patterns[gone])
        )
        % _MODULUS,
        device_digest=(
            before.device_digest
            + digest(changes.device_slots, changes.device_rows)
            - digest(gone_devices, table.devices[gone_devices])
        )
        % _MODULUS,
    )
    return replace(changes, totals=totals)


def _is_stored(table: Table, slots: Slots) -> NDArray[np.bool_]:
    stored: NDArray[np.bool_] = table.patterns["sample_count"][slots] > 0
    return stored
