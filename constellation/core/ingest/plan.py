"""Planning: what a group of deltas changes, worked out before anything is written.

A plan changes nothing itself. The store makes `Plan.changes` durable, and only then does
`Plan.apply` bring the table to the same state; a plan whose commit failed is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.ingest.cursors import Cursor, judge_delta
from constellation.core.ingest.decode import Upserts, decode_patterns
from constellation.core.ingest.deltas import Delta, Receipt, Rejection, RejectionReason, Verdict
from constellation.core.ingest.resolve import DeltaGroup, resolve
from constellation.core.ingest.signals import SignalTally
from constellation.core.rows import DEVICE, DeviceRows, Slots, TermKind, digest_rows
from constellation.core.store import CommitWrites
from constellation.core.table.hourly import RING_HOURS, HourlyRing
from constellation.core.table.shard_table import Table, to_device_keys
from constellation.core.table.vocabulary import PendingTerms

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

    writes: CommitWrites
    """For the store. Its lsn is the table's when there is nothing to write."""
    receipts: Sequence[Receipt]
    """One for each delta, in order."""
    pattern_change: PatternChange
    is_new_device: NDArray[np.bool_]
    """Which of `changes.device_slots` were free before."""

    @property
    def is_empty(self) -> bool:
        return not len(self.writes.device_slots) and not len(self.writes.freed_devices)


def plan_commit(
    table: Table, ring: HourlyRing, rules: Rules, deltas: Sequence[Delta], now: float
) -> Plan:
    """Work out what becomes of deltas, in order. `now` is in seconds since 1970."""
    devices = _GroupDevices.from_deltas(table, deltas)
    verdicts = [devices.judge(index, delta) for index, delta in enumerate(deltas)]
    applied = [index for index, verdict in enumerate(verdicts) if verdict is Verdict.APPLIED]
    terms = PendingTerms(table.vocabulary)
    signal_tally = SignalTally(ring, table.content_genres, int(now) // _SECONDS_PER_HOUR)
    dropped = {
        index: devices.count_signals(index, deltas[index], signal_tally, terms) for index in applied
    }

    upserts, senders = _decode_upserts(deltas, applied, terms, rules)
    touched = devices.collect_changed(applied, int(now))
    group = DeltaGroup(
        [deltas[index] for index in applied], touched.delta_positions, upserts, senders
    )
    change = resolve(table, rules, touched.slots, group)
    rejected = _collect_rejections(deltas, applied, upserts, senders)
    receipts = [
        Receipt(
            verdict,
            devices.through_seqs[index],
            rejected.get(index, ()),
            dropped.get(index, 0),
        )
        for index, verdict in enumerate(verdicts)
    ]
    writes = CommitWrites(
        totals=table.totals,
        slots=change.slots,
        rows=change.rows,
        freed_slots=change.freed_slots,
        device_slots=touched.slots,
        device_rows=touched.rows,
        terms=terms.to_terms(),
        counts=signal_tally.counts(),
        oldest_hour=max(0, int(now) // _SECONDS_PER_HOUR - RING_HOURS + 1),
    )
    return Plan(_add_totals(table, writes, touched.is_new), receipts, change, touched.is_new)


def plan_expiry(table: Table, devices: Slots, rules: Rules) -> Plan:
    """Work out what removing distinct devices, with all their patterns, changes."""
    nothing = decode_patterns([], PendingTerms(table.vocabulary), 0.0)
    group = DeltaGroup((), np.empty(0, np.int64), nothing, np.empty(0, np.int64), is_expiry=True)
    change = resolve(table, rules, devices, group)
    writes = CommitWrites(
        totals=table.totals, freed_slots=change.freed_slots, freed_devices=devices
    )
    return Plan(_add_totals(table, writes, np.empty(0, bool)), (), change, np.empty(0, bool))


def apply_plan(table: Table, ring: HourlyRing, planned: Plan) -> None:
    """Bring the table to the state that the plan's changes describe."""
    writes, change = planned.writes, planned.pattern_change
    new = writes.device_slots[planned.is_new_device]
    if len(new):
        table.device_allocator.take(len(new))
        ids = writes.device_rows["device_id"][planned.is_new_device].tobytes()
        table.slots_by_device.put(to_device_keys(ids), new)
    table.devices[writes.device_slots] = writes.device_rows
    change.apply(table, writes.totals.lsn)
    if len(writes.freed_devices):
        ids = table.devices["device_id"][writes.freed_devices].tobytes()
        table.slots_by_device.remove(to_device_keys(ids))
        table.devices[writes.freed_devices] = np.zeros(1, DEVICE)
        table.relocated_count -= int(np.count_nonzero(table.relocated[writes.freed_devices]))
        table.relocated[writes.freed_devices] = False
        table.device_allocator.free(writes.freed_devices)
    table.vocabulary.add(writes.terms)
    ring.put(writes.counts)
    table.totals = writes.totals


@dataclass(frozen=True, slots=True, eq=False)
class _ChangedDevices:
    """The devices a group changes."""

    slots: Slots
    rows: DeviceRows
    is_new: NDArray[np.bool_]
    delta_positions: NDArray[np.int64]
    """For each applied delta, which of `slots` sent it."""


@dataclass(slots=True, eq=False)
class _GroupDevices:
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
    def from_deltas(cls, table: Table, deltas: Sequence[Delta]) -> _GroupDevices:
        numbered: dict[bytes, int] = {}
        positions = [numbered.setdefault(delta.device_id, len(numbered)) for delta in deltas]
        ids = b"".join(numbered)
        slots = table.slots_by_device.find(to_device_keys(ids))
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
        return cls(table, positions, slots, rows, cursors, [], table.device_allocator.free_count())

    def judge(self, index: int, delta: Delta) -> Verdict:
        """Return a delta's verdict, and move its device's cursor when it applies."""
        position = self.positions[index]
        cursor = self.cursors[position]
        verdict = judge_delta(delta, cursor)
        if verdict is Verdict.APPLIED and cursor is None and self.slots[position] < 0:
            if not self.room:
                verdict = Verdict.REFUSED
            self.room -= verdict is Verdict.APPLIED
        if verdict is Verdict.APPLIED:
            cursor = self.cursors[position] = Cursor(delta.incarnation, delta.seq)
        is_same = cursor is not None and cursor.incarnation == delta.incarnation
        self.through_seqs.append(cursor.seq if cursor and is_same else 0)
        return verdict

    def count_signals(
        self, index: int, delta: Delta, tally: SignalTally, terms: PendingTerms
    ) -> int:
        """Count a delta's signals; return how many were dropped."""
        if not delta.signal_contents:
            return 0
        row = self.rows[self.positions[index]]
        dropped = 0
        for hour, text in zip(delta.signal_hours, delta.signal_contents, strict=True):
            if tally.has_room(row, hour):  # else its content needs no number
                (content,) = terms.assign_numbers(TermKind.CONTENT, [text])
                dropped += not tally.add_signal(row, hour, content)
            else:
                dropped += 1
        return dropped

    def collect_changed(self, applied: Sequence[int], now: int) -> _ChangedDevices:
        """Return the devices with an applied delta, their rows at their new cursors."""
        senders = [self.positions[index] for index in applied]
        chosen = sorted(set(senders))
        rank = {position: index_in_chosen for index_in_chosen, position in enumerate(chosen)}
        slots, rows = self.slots[chosen], self.rows[chosen]
        is_new = slots < 0
        slots[is_new] = self.table.device_allocator.peek(int(is_new.sum()))
        moved = [cursor for cursor in (self.cursors[position] for position in chosen) if cursor]
        rows["incarnation"] = [cursor.incarnation for cursor in moved]
        rows["seq"] = [cursor.seq for cursor in moved]
        rows["synced_at"] = now
        return _ChangedDevices(
            slots, rows, is_new, np.array([rank[sender] for sender in senders], np.int64)
        )


def _decode_upserts(
    deltas: Sequence[Delta], applied: Sequence[int], terms: PendingTerms, rules: Rules
) -> tuple[Upserts, NDArray[np.int64]]:
    """Return the patterns of the applied deltas, and for each row which of them sent it."""
    batches = []
    owners = []
    for position, index in enumerate(applied):
        batch = deltas[index].upserts
        if batch is not None:
            batches.append(batch)
            owners.append(position)
    upserts = decode_patterns(batches, terms, rules.quality_threshold)
    return upserts, np.array(owners, np.int64)[upserts.sources]


def _collect_rejections(
    deltas: Sequence[Delta],
    applied: Sequence[int],
    upserts: Upserts,
    senders: NDArray[np.int64],
) -> dict[int, list[Rejection]]:
    """Return the rejected patterns of each delta; few, so one at a time."""
    rejected: dict[int, list[Rejection]] = {}
    for row in np.flatnonzero(upserts.reasons).tolist():
        index = applied[int(senders[row])]
        pattern_id = upserts.rows["pattern_id"][row].tobytes()
        reason = RejectionReason(int(upserts.reasons[row]))
        rejected.setdefault(index, []).append(Rejection(deltas[index].seq, pattern_id, reason))
    return rejected


def _add_totals(table: Table, writes: CommitWrites, new_devices: NDArray[np.bool_]) -> CommitWrites:
    """Give the rows their lsn, and the changes the totals after them."""
    if not len(writes.device_slots) and not len(writes.freed_devices):
        return writes
    before = table.totals
    lsn = before.lsn + 1
    writes.rows["lsn"] = lsn
    replaced = writes.slots[_is_stored(table, writes.slots)]
    gone = np.concatenate([replaced, writes.freed_slots])
    known = writes.device_slots[~new_devices]
    gone_devices = np.concatenate([known, writes.freed_devices])
    totals = replace(
        before,
        lsn=lsn,
        patterns=before.patterns + len(writes.slots) - len(gone),
        devices=before.devices + len(writes.device_slots) - len(gone_devices),
        pattern_digest=(
            before.pattern_digest
            + digest_rows(writes.slots, writes.rows)
            - digest_rows(gone, table.patterns[gone])
        )
        % _MODULUS,
        device_digest=(
            before.device_digest
            + digest_rows(writes.device_slots, writes.device_rows)
            - digest_rows(gone_devices, table.devices[gone_devices])
        )
        % _MODULUS,
    )
    return replace(writes, totals=totals)


def _is_stored(table: Table, slots: Slots) -> NDArray[np.bool_]:
    stored: NDArray[np.bool_] = table.patterns["sample_count"][slots] > 0
    return stored
