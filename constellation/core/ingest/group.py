"""GroupDevices: the devices of one group of deltas, and what the deltas make of their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.ingest.cursors import Cursor, judge_delta
from constellation.core.ingest.decode import Upserts, decode_patterns
from constellation.core.ingest.deltas import Delta, Verdict
from constellation.core.ingest.weekly import begin_week, take_liked
from constellation.core.rows import DEVICE, DeviceRows, Slots
from constellation.core.store import no_slots
from constellation.core.table.shard_table import Table, to_device_keys
from constellation.core.table.standing import compute_standing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from constellation.core.ingest.content_budget import ContentBudget
    from constellation.core.ingest.liked import LikedChanges
    from constellation.core.ingest.signals import SignalTally
    from constellation.core.rules import Rules
    from constellation.core.table.contributors import ContributorSample
    from constellation.core.table.origins import DeviceOrigin


@dataclass(frozen=True, slots=True, eq=False)
class ChangedDevices:
    """The devices of a group with at least one applied delta."""

    positions: list[int]
    """The position of each among the group's devices."""
    slots: Slots
    rows: DeviceRows
    """Their new rows."""
    is_new: NDArray[np.bool_]
    """Which of `slots` are free before the commit."""
    delta_positions: NDArray[np.int64]
    """For each applied delta, the position of its device in `slots`."""
    standing: NDArray[np.uint8]
    """For each of `slots`, the origin number with which it counts for others; 0 for none."""


@dataclass(slots=True)
class DeviceRoom:
    """How many more devices a shard may take: the last places are for attested ones."""

    free: int
    reserved: int
    """Places that only attested devices may take."""

    @classmethod
    def of(cls, table: Table, rules: Rules) -> DeviceRoom:
        reserved = int(rules.max_devices * rules.attested_reserve)
        return cls(table.device_allocator.free_count(), reserved)

    def has_place(self, *, is_attested: bool) -> bool:
        """Return whether there is room for one more device."""
        return self.free > (0 if is_attested else self.reserved)

    def take(self, *, is_attested: bool) -> bool:
        """Take a place for a device; return False when there is none."""
        if not self.has_place(is_attested=is_attested):
            return False
        self.free -= 1
        return True


def note_origins(rows: DeviceRows, origins: Mapping[int, DeviceOrigin]) -> None:
    """Write the origins of devices, by their positions, into their rows, in place.

    A lot replaces another, because the token names it. A device keeps its first network.
    """
    positions = np.array(list(origins), np.int64)
    lots = np.array([each.lot for each in origins.values()], np.uint64)
    networks = np.array([each.network for each in origins.values()], np.uint64)
    has_lot = positions[lots > 0]
    rows["lot"][has_lot] = lots[lots > 0]
    rows["attested"][has_lot] = 1
    is_first = rows["network"][positions] == 0
    rows["network"][positions[is_first]] = networks[is_first]


@dataclass(slots=True, eq=False)
class GroupDevices:
    """The devices of one group of deltas, whose cursors move with each applied delta."""

    table: Table
    positions: list[int]
    """For each delta, the position of its device in `slots`."""
    slots: Slots
    """The row number of each device; -1 for one that the table does not know."""
    rows: DeviceRows
    """The row of each device, to which its signals are written."""
    cursors: list[Cursor | None]
    """The cursor of each device after the deltas judged so far."""
    through_seqs: list[int]
    """For each delta judged so far, its device's cursor in the delta's incarnation."""
    standing: NDArray[np.uint8]
    """For each device, the origin number with which it counts for others; 0 if it does not."""
    room: DeviceRoom

    @classmethod
    def from_deltas(
        cls, table: Table, deltas: Sequence[Delta], today: int, rules: Rules
    ) -> GroupDevices:
        """Return the devices of deltas that are committed on a day, in days since 1970."""
        by_id: dict[bytes, int] = {}
        positions = [by_id.setdefault(delta.device_id, len(by_id)) for delta in deltas]
        ids = b"".join(by_id)
        slots = table.slots_by_device.find(to_device_keys(ids))
        known = slots >= 0
        rows = np.zeros(len(slots), DEVICE)
        rows["device_id"] = np.frombuffer(ids, "V16")
        rows[known] = table.devices[slots[known]]
        begin_week(rows, today)
        cursors = [
            Cursor(incarnation, seq) if is_known else None
            for incarnation, seq, is_known in zip(
                rows["incarnation"].tolist(), rows["seq"].tolist(), known.tolist(), strict=True
            )
        ]
        rows["first_day"][~known] = today
        rows["incarnation"][~known] = 1  # until its delta applies
        note_origins(rows, {by_id[delta.device_id]: delta.origin for delta in deltas})
        standing = np.where(
            known,
            table.standing.numbers[slots],
            compute_standing(rows, today, rules.min_device_age_days),
        )
        room = DeviceRoom.of(table, rules)
        return cls(table, positions, slots, rows, cursors, [], standing, room)

    def judge(self, index: int, delta: Delta) -> Verdict:
        """Return a delta's verdict, and move its device's cursor when it applies.

        Deltas must be judged in order.
        """
        position = self.positions[index]
        cursor = self.cursors[position]
        verdict = judge_delta(delta, cursor)
        is_new = verdict is Verdict.APPLIED and cursor is None and self.slots[position] < 0
        if is_new and not self.room.take(is_attested=delta.origin.lot > 0):
            verdict = Verdict.REFUSED
        if verdict is Verdict.APPLIED:
            cursor = self.cursors[position] = Cursor(delta.incarnation, delta.seq)
        is_same = cursor is not None and cursor.incarnation == delta.incarnation
        self.through_seqs.append(cursor.seq if cursor and is_same else 0)
        return verdict

    def decode_upserts(
        self, deltas: Sequence[Delta], applied: Sequence[int], budget: ContentBudget, rules: Rules
    ) -> tuple[Upserts, NDArray[np.int64]]:
        """Return the patterns of the applied deltas, and for each row the position of its delta."""
        batches, owners, devices = [], [], []
        for position, index in enumerate(applied):
            batch = deltas[index].upserts
            if batch is not None:
                batches.append(batch)
                owners.append(position)
                devices.append(self.positions[index])
        upserts = decode_patterns(batches, devices, budget, rules.quality_threshold)
        return upserts, np.array(owners, np.int64)[upserts.sources]

    def collect_changed(self, applied: Sequence[int], now: int) -> ChangedDevices:
        """Return the devices with an applied delta, and their rows with the new cursors.

        Their days of activity are still to be noted, once it is known what was accepted.
        """
        senders = [self.positions[index] for index in applied]
        chosen = sorted(set(senders))
        rank = {position: index for index, position in enumerate(chosen)}
        slots, rows = self.slots[chosen], self.rows[chosen]
        is_new = slots < 0
        slots[is_new] = self.table.device_allocator.peek(int(is_new.sum()))
        moved = [cursor for cursor in (self.cursors[position] for position in chosen) if cursor]
        rows["incarnation"] = [cursor.incarnation for cursor in moved]
        rows["seq"] = [cursor.seq for cursor in moved]
        rows["synced_at"] = now
        positions = np.array([rank[sender] for sender in senders], np.int64)
        return ChangedDevices(chosen, slots, rows, is_new, positions, self.standing[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class NamedContents:
    """The content items that devices named in signals or as liked."""

    devices: Slots
    """Shape (n,): row numbers, which may repeat."""
    contents: NDArray[np.int64]
    """Shape (n,): the numbers of the content items."""


def no_named_contents() -> NamedContents:
    return NamedContents(no_slots(), no_slots())


class GroupContents:
    """Takes in the content items that the deltas of a group name as watched or liked."""

    def __init__(
        self,
        devices: GroupDevices,
        tally: SignalTally,
        budget: ContentBudget,
        liked: LikedChanges,
        *,
        sample: ContributorSample,
        liked_per_week: int,
    ) -> None:
        self._devices = devices
        self._tally = tally
        self._budget = budget
        self._liked = liked
        self._sample = sample
        self._liked_per_week = liked_per_week
        self._positions: list[int] = []
        """The position of the device of each content item that was taken in."""
        self._contents: list[int] = []

    def add(self, index: int, delta: Delta) -> int:
        """Take in the signals and the liked content of a delta; return how many were dropped.

        Liked content changes only for devices that contribute, first by what is replaced or
        withdrawn, then by the signals that count.
        """
        has_liked = delta.is_snapshot or bool(delta.withdrawn_contents)
        if not has_liked and not delta.signal_contents:
            return 0
        position = self._devices.positions[index]
        contributes = self._sample.contains(delta.device_id)
        dropped = self._change_liked(position, delta) if has_liked and contributes else 0
        row = self._devices.rows[position]
        for sent_hour, text in zip(delta.signal_hours, delta.signal_contents, strict=True):
            hour = self._tally.find_hour(sent_hour)
            if not self._tally.has_room(row, hour):  # its content id needs no number
                dropped += 1
                continue
            content = self._budget.number_content(position, text)
            counts = self._devices.standing[position] > 0
            if not self._tally.add_signal(row, hour, content, counts=bool(counts)):
                dropped += 1
                continue
            self._note(position, content)
            if contributes and take_liked(row, 1, self._liked_per_week):
                self._liked.add(position, content)
        return dropped

    def collect_named(self, changed: ChangedDevices) -> NamedContents:
        """Return what was taken in, once the devices of the group have row numbers."""
        if not self._positions:
            return no_named_contents()
        slots = dict(zip(changed.positions, changed.slots.tolist(), strict=True))
        return NamedContents(
            np.array([slots[position] for position in self._positions], np.int64),
            np.array(self._contents, np.int64),
        )

    def _change_liked(self, position: int, delta: Delta) -> int:
        """Replace or withdraw liked content; return how many were beyond the device's budget."""
        dropped = 0
        if delta.is_snapshot:
            numbers = [self._budget.number_content(position, each) for each in delta.liked_contents]
            known = self._bound_liked(position, [number for number in numbers if number])
            self._liked.replace(position, known)
            for number in known:
                self._note(position, number)
            dropped = len(numbers) - len(known)
        if delta.withdrawn_contents:
            self._liked.withdraw(position, self._budget.find_contents(delta.withdrawn_contents))
        return dropped

    def _bound_liked(self, position: int, contents: Sequence[int]) -> list[int]:
        """Return what of a snapshot may be liked: what was liked before, and the latest new ones.

        The latest come last.
        """
        before = self._liked.list_contents(position)
        new = [content for content in dict.fromkeys(contents) if content not in before]
        taken = take_liked(self._devices.rows[position], len(new), self._liked_per_week)
        beyond = set(new[: len(new) - taken])
        return [content for content in contents if content not in beyond]

    def _note(self, position: int, content: int) -> None:
        self._positions.append(position)
        self._contents.append(content)
