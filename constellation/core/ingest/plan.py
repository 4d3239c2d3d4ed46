"""Planner: what a group of deltas changes, computed before anything is written.

A plan itself changes nothing. The store makes `Plan.writes` durable, and only then does
`Planner.apply` bring the table to the same state. A plan whose commit failed is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.ingest.content_budget import ContentBudget, ContentCharge
from constellation.core.ingest.decode import decode_patterns
from constellation.core.ingest.deltas import Delta, Receipt, Rejection, RejectionReason, Verdict
from constellation.core.ingest.group import (
    GroupContents,
    GroupDevices,
    NamedContents,
    no_named_contents,
)
from constellation.core.ingest.liked import LikedChanges
from constellation.core.ingest.recount import find_restanding, find_standing, plan_recount
from constellation.core.ingest.resolve import DeltaGroup, resolve
from constellation.core.ingest.signals import SignalTally
from constellation.core.ingest.weekly import count_pattern_room
from constellation.core.rows import (
    DIGEST_MODULUS,
    Slots,
    digest_rows,
)
from constellation.core.store import CommitWrites, Totals, no_slots
from constellation.core.table.contributors import EVERY_DEVICE, ContributorSample
from constellation.core.table.hourly import RING_HOURS, HourlyRing
from constellation.core.table.shard_table import Table, to_device_keys
from constellation.core.table.standing import compute_standing, note_activity, to_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.table.change import PatternChange
    from constellation.core.table.group_change import GroupChange

_SECONDS_PER_HOUR: Final = 3600
FULL_SHARE: Final = 0.95
"""From this share of the places on, unproven devices that were silent for a day are deleted."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that one commit changes, in the store and in memory."""

    writes: CommitWrites
    """The writes of the store. Their lsn is the table's when there is nothing to write."""
    receipts: Sequence[Receipt]
    """One for each delta, in order; none for an expiry."""
    pattern_change: PatternChange
    named_contents: NamedContents
    """What the devices of the deltas named as watched or liked."""
    is_new_device: NDArray[np.bool_]
    """Which of `writes.device_slots` were free before."""
    hour_digests: dict[int, int]
    """`HourlyRing.digests` after the commit."""
    content_charge: ContentCharge | None = None
    """What the new content ids cost their devices; None when there are none."""
    group_change: GroupChange | None = None
    """What an epoch does to the groups; None for every other commit."""

    @property
    def is_empty(self) -> bool:
        return self.writes.is_empty


@dataclass(frozen=True, slots=True, eq=False)
class Planner:
    """Plans the commits of one shard, and applies those that are durable to its memory."""

    table: Table
    ring: HourlyRing
    rules: Rules
    sample: ContributorSample = EVERY_DEVICE
    """The devices whose liked content is kept."""

    def plan_commit(self, deltas: Sequence[Delta], now: float) -> Plan:
        """Return what a group of deltas changes, in order. `now` is in seconds since 1970."""
        table, now_hour, today = self.table, int(now) // _SECONDS_PER_HOUR, to_day(now)
        devices = GroupDevices.from_deltas(table, deltas, today, self.rules)
        verdicts = [devices.judge(index, delta) for index, delta in enumerate(deltas)]
        applied = [index for index, verdict in enumerate(verdicts) if verdict is Verdict.APPLIED]
        most = self.rules.max_new_contents_per_hour
        budget = ContentBudget(
            table, devices.slots, now_hour, most, max_contents=self.rules.max_contents
        )
        tally = SignalTally(
            self.ring,
            table.content_genres,
            now_hour,
            self.rules.signals_per_hour,
            self.rules.signals_per_week,
        )
        liked = LikedChanges(table.liked, devices.slots)
        contents = GroupContents(
            devices,
            tally,
            budget,
            liked,
            sample=self.sample,
            liked_per_week=self.rules.liked_per_week,
        )
        dropped = {index: contents.add(index, deltas[index]) for index in applied}

        changed = devices.collect_changed(applied, int(now))
        liked_writes = liked.to_writes(changed.positions, changed.slots)
        upserts, senders = devices.decode_upserts(deltas, applied, budget, self.rules)
        applied_deltas = [deltas[index] for index in applied]
        group = DeltaGroup(
            applied_deltas,
            changed.delta_positions,
            upserts,
            senders,
            changed.standing,
            count_pattern_room(changed.rows, self.rules.patterns_per_week),
        )
        resolution = resolve(table, self.rules, changed.slots, group)
        changed.rows["week_patterns"] += resolution.new_counts
        rejections = _collect_rejections(group, applied, resolution.reasons)
        receipts = [
            Receipt(verdict, seq, rejections.get(index, ()), dropped.get(index, 0))
            for index, (verdict, seq) in enumerate(zip(verdicts, devices.through_seqs, strict=True))
        ]
        active = _find_active(group, resolution.reasons, receipts, applied)
        note_activity(changed.rows, active, today)
        change = resolution.change
        terms, oldest_hour = budget.pending.to_terms(), max(0, now_hour - RING_HOURS + 1)
        writes = CommitWrites(
            totals=table.totals,
            slots=change.slots,
            rows=change.rows,
            freed_slots=change.freed_slots,
            device_slots=changed.slots,
            device_rows=changed.rows,
            liked_devices=liked_writes.devices,
            liked_rows=liked_writes.rows,
            freed_liked=liked_writes.freed,
            terms=terms,
            counts=tally.counts(),
            oldest_hour=oldest_hour,
            catalogue_digest=table.catalogue_digest.total,
            new_catalogue_digest=table.catalogue_digest.compute_total_with((), terms)
            if terms
            else None,
        )
        hour_digests = self.ring.compute_digests_with(writes.counts, oldest_hour)
        writes = _add_totals(table, writes, changed.is_new, hour_digests)
        charge = budget.charge(changed.positions, changed.slots)
        named = contents.collect_named(changed)
        return Plan(writes, receipts, change, named, changed.is_new, hour_digests, charge)

    def plan_presence(self, devices: Slots) -> Plan:
        """Return the writes that make distinct devices as recently synced as they were heard."""
        table = self.table
        rows = table.devices[devices]
        rows["synced_at"] = np.maximum(rows["synced_at"], table.heard_at[devices])
        writes = CommitWrites(
            totals=table.totals,
            device_slots=devices,
            device_rows=rows,
            catalogue_digest=table.catalogue_digest.total,
        )
        return self._plan_without_deltas(writes, devices, is_expiry=False)

    def plan_expiry(self, devices: Slots) -> Plan:
        """Return what the removal of distinct devices, with all their patterns, changes."""
        table = self.table
        writes = CommitWrites(
            totals=table.totals,
            freed_devices=devices,
            freed_liked=devices[table.liked.has(devices)],
            catalogue_digest=table.catalogue_digest.total,
        )
        return self._plan_without_deltas(writes, devices, is_expiry=True)

    def find_restanding(self, now: float) -> Slots:
        """Return the devices that should begin or cease to count; belongs in a worker thread."""
        return find_restanding(self.table, self.rules, to_day(now))

    def plan_recount(self, devices: Slots, now: float) -> PatternChange:
        """Return what changes when distinct devices count as they should, as of a time."""
        numbers = find_standing(self.table, self.rules, devices, to_day(now))
        is_changed = numbers != self.table.standing.numbers[devices]
        return plan_recount(self.table, devices[is_changed], numbers[is_changed])

    def find_surplus(self, before: float) -> Slots:
        """Return the unproven devices that stand in the way of new ones, silent since a time.

        Those that synced longest ago come first.
        """
        rules = self.rules
        most = int(rules.max_devices * (1 - rules.attested_reserve) * FULL_SHARE)
        surplus = max(0, self.table.totals.devices - most)
        return self.table.find_unproven(before)[:surplus]

    def plan_quarantine(self, devices: Slots, now: float, *, quarantined: bool) -> Plan:
        """Return the writes that put distinct devices into quarantine, or lift it."""
        table = self.table
        rows = table.devices[devices]
        rows["quarantined"] = quarantined
        standing = compute_standing(rows, to_day(now), self.rules.min_device_age_days)
        standing[table.relocated[devices]] = 0  # such a device counts elsewhere
        writes = CommitWrites(
            totals=table.totals,
            device_slots=devices,
            device_rows=rows,
            catalogue_digest=table.catalogue_digest.total,
        )
        plan = self._plan_without_deltas(writes, devices, is_expiry=False)
        change = plan_recount(table, devices, standing)
        return replace(plan, pattern_change=change)

    def plan_liked_removal(self, devices: Slots) -> Plan:
        """Return the writes that delete the liked content of distinct devices that have some."""
        writes = CommitWrites(
            totals=self.table.totals,
            freed_liked=devices,
            catalogue_digest=self.table.catalogue_digest.total,
        )
        return self._plan_without_deltas(writes, devices, is_expiry=False)

    def plan_groups(self, change: GroupChange) -> Plan:
        """Return the writes of one step of an epoch."""
        totals = replace(self.table.totals, group_digest=change.group_digest)
        writes = CommitWrites(
            totals=totals,
            group_records=change.records,
            freed_group_records=change.freed_records,
            catalogue_digest=self.table.catalogue_digest.total,
        )
        plan = self._plan_without_deltas(writes, no_slots(), is_expiry=False)
        return replace(plan, group_change=change)

    def apply(self, plan: Plan) -> None:
        """Bring table and ring to the state after a plan that is durable."""
        table, writes = self.table, plan.writes
        new = writes.device_slots[plan.is_new_device]
        if len(new):
            table.device_allocator.take(len(new))
            ids = writes.device_rows["device_id"][plan.is_new_device].tobytes()
            table.slots_by_device.put(to_device_keys(ids), new)
        table.put_devices(writes.device_slots, writes.device_rows)
        plan.pattern_change.apply(table, writes.totals.lsn)
        if len(writes.liked_devices):
            table.liked.put(writes.liked_devices, writes.liked_rows)
        if len(writes.freed_liked):
            table.liked.remove(writes.freed_liked)
        if len(writes.freed_devices):
            table.remove_devices(writes.freed_devices)
        table.add_terms(writes.terms)
        if plan.content_charge is not None:
            plan.content_charge.apply(table)
        if plan.group_change is not None:
            plan.group_change.apply(table)
        self.ring.put(writes.counts)
        self.ring.digests = plan.hour_digests
        self.ring.close_before(writes.oldest_hour)
        table.totals = writes.totals

    def _plan_without_deltas(
        self, writes: CommitWrites, devices: Slots, *, is_expiry: bool
    ) -> Plan:
        """Return the plan of writes for known devices, which lose their patterns by an expiry."""
        change = self._resolve_without_deltas(devices, is_expiry=is_expiry)
        writes = replace(writes, freed_slots=change.freed_slots)
        is_new, digests = np.zeros(len(writes.device_slots), bool), self.ring.digests
        writes = _add_totals(self.table, writes, is_new, digests)
        return Plan(writes, (), change, no_named_contents(), is_new, digests)

    def _resolve_without_deltas(self, devices: Slots, *, is_expiry: bool) -> PatternChange:
        none = np.empty(0, np.int64)
        nothing = decode_patterns([], (), ContentBudget(self.table, none, 0, 0), 0.0)
        standing = self.table.standing.numbers[devices]
        room = np.zeros(len(devices), np.int64)
        group = DeltaGroup((), none, nothing, none, standing, room, is_expiry=is_expiry)
        return resolve(self.table, self.rules, devices, group).change


def _find_active(
    group: DeltaGroup,
    reasons: NDArray[np.uint8],
    receipts: Sequence[Receipt],
    applied: Sequence[int],
) -> NDArray[np.bool_]:
    """Return for each device of a group whether any change of its deltas was accepted.

    A removal is none: a device that has nothing can send it, too.
    """
    accepted = np.zeros(len(group.deltas), bool)
    accepted[group.delta_positions[reasons == 0]] = True
    for position, index in enumerate(applied):
        delta = group.deltas[position]
        if len(delta.signal_contents) + len(delta.liked_contents) > receipts[index].signals_dropped:
            accepted[position] = True
    active = np.zeros(len(group.standing), bool)
    active[group.device_positions[accepted]] = True
    return active


def _collect_rejections(
    group: DeltaGroup, applied: Sequence[int], reasons: NDArray[np.uint8]
) -> dict[int, list[Rejection]]:
    """Return the rejections of each delta, by its number in `applied`.

    There are few, so they are handled one at a time.
    """
    rejections: dict[int, list[Rejection]] = {}
    for row in np.flatnonzero(reasons).tolist():
        position = int(group.delta_positions[row])
        pattern_id = group.upserts.rows["pattern_id"][row].tobytes()
        reason = RejectionReason(int(reasons[row]))
        rejection = Rejection(group.deltas[position].seq, pattern_id, reason)
        rejections.setdefault(applied[position], []).append(rejection)
    return rejections


def _add_totals(
    table: Table, writes: CommitWrites, is_new: NDArray[np.bool_], hour_digests: dict[int, int]
) -> CommitWrites:
    """Write the new lsn into the rows, and return the writes with the totals after them."""
    if writes.is_empty:
        return writes
    before = table.totals
    writes.rows["lsn"] = before.lsn + 1
    replaced = writes.slots[_is_stored(table, writes.slots)]
    gone = np.concatenate([replaced, writes.freed_slots])
    known = writes.device_slots[~is_new]
    gone_devices = np.concatenate([known, writes.freed_devices])
    pattern_change = digest_rows(writes.slots, writes.rows) - digest_rows(
        gone, table.patterns[gone]
    )
    device_change = digest_rows(writes.device_slots, writes.device_rows) - digest_rows(
        gone_devices, table.devices[gone_devices]
    )
    liking = np.concatenate([writes.liked_devices, writes.freed_liked])
    before_liked = table.liked.read(liking)
    had_liked = before_liked["contents"][:, 0] > 0
    liked_change = digest_rows(writes.liked_devices, writes.liked_rows) - digest_rows(
        liking[had_liked], before_liked[had_liked]
    )
    totals = Totals(
        lsn=before.lsn + 1,
        patterns=before.patterns + len(writes.slots) - len(gone),
        devices=before.devices + len(writes.device_slots) - len(gone_devices),
        pattern_digest=(before.pattern_digest + pattern_change) % DIGEST_MODULUS,
        device_digest=(before.device_digest + device_change) % DIGEST_MODULUS,
        count_digest=sum(hour_digests.values()) % DIGEST_MODULUS,
        liked_digest=(before.liked_digest + liked_change) % DIGEST_MODULUS,
        group_digest=writes.totals.group_digest,
    )
    return replace(writes, totals=totals)


def _is_stored(table: Table, slots: Slots) -> NDArray[np.bool_]:
    stored: NDArray[np.bool_] = table.patterns["sample_count"][slots] > 0
    return stored
