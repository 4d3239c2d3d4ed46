"""Outbox: the device's file, with its identity, deltas, patterns and the global state."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from constellation.encoding import ID_BYTES
from constellation_settop.errors import InvalidArgumentError
from constellation_settop.storage import journal
from constellation_settop.storage.database import Durability, open_database, transaction
from constellation_settop.storage.deltas import build_deltas, to_signals
from constellation_settop.storage.identity import (
    DeviceState,
    draw_incarnation,
    ensure_identity,
    read_device_state,
    write_device_state,
)
from constellation_settop.storage.problems import WriteProblem, reading
from constellation_settop.storage.rows import (
    mark_unshared,
    read_global,
    read_learned,
    read_shared,
    read_watched,
    write_global,
    write_learned,
)
from constellation_settop.values import GlobalState, LearnedPattern, LocalChanges, Pattern

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from constellation.v1 import patterns_pb2 as pb
    from constellation_settop.storage.journal import AckedDelta

log = logging.getLogger("constellation_settop")

MAX_PENDING_DELTAS: Final = 64
"""Deltas that may wait for an ack. Beyond it, a snapshot replaces them."""


@dataclass(frozen=True, slots=True)
class PendingDelta:
    """A delta that is not acked yet. Its message stays in the file."""

    seq: int
    is_snapshot: bool
    """True when the delta replaces all that the shard has of the device."""
    size: int
    """Number of upserts and removals."""


class Outbox:
    """The file of one device. It is bounded, except for the journal; it is not safe for threads.

    Usable alone, for a host that learns in its own way: `append` numbers deltas and makes them
    durable, and Sync sends them.

    Example:
        with Outbox.open("device.sqlite") as outbox:
            outbox.append(LocalChanges(signals=[Signal("content-42", hour=490_000)]))
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        durability: Durability = Durability.POWER_FAILURE,
        *,
        keep_journal: bool = False,
        max_pending: int = MAX_PENDING_DELTAS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use an open file that has an identity. Callers use `open`."""
        self._connection = connection
        self._durability = durability
        self._keep_journal = keep_journal
        self._max_pending = max_pending
        self._clock = clock
        self._write_problem = WriteProblem()
        with reading():
            self._state = read_device_state(connection)
            rows = connection.execute("SELECT seq, snapshot, size FROM deltas ORDER BY seq")
            self._pending_deltas = [
                PendingDelta(seq, bool(snapshot), size) for seq, snapshot, size in rows
            ]
        self._global: GlobalState | None = None
        self.last_sent_seq = self._state.next_seq - 1
        """The highest seq that may have left the device; after opening, the highest in use."""

    @classmethod
    @contextmanager
    def open(
        cls,
        path: Path | str,
        device_id: bytes | None = None,
        *,
        durability: Durability = Durability.POWER_FAILURE,
        keep_journal: bool = False,
        max_pending: int = MAX_PENDING_DELTAS,
    ) -> Iterator[Outbox]:
        """Open a device's file, or create it.

        Args:
            path: the file; ":memory:" means none.
            device_id: 16 bytes. A new file gets this identity, or a random one for None.
            durability: what a delta survives once it was appended.
            keep_journal: keep every acked delta for `read_journal`, without bound.
            max_pending: deltas that may wait for an ack before a snapshot replaces them.

        A damaged file is renamed to "<name>.damaged", and a new one takes its place. Raises
        InvalidArgumentError when the file belongs to another device, and StorageError when another
        process has it open or the disk refuses.
        """
        if device_id is not None and len(device_id) != ID_BYTES:
            raise InvalidArgumentError(f"device_id must be {ID_BYTES} bytes, got {len(device_id)}")
        with open_database(path) as connection:
            with transaction(connection, durability):
                ensure_identity(connection, device_id)
            outbox = cls(connection, durability, keep_journal=keep_journal, max_pending=max_pending)
            if device_id not in {None, outbox.device_id}:
                raise InvalidArgumentError(
                    f"{path} belongs to another device, {outbox.device_id.hex()}; "
                    "use another path, or leave device_id out"
                )
            yield outbox

    @property
    def device_id(self) -> bytes:
        """The device's UUID, 16 bytes."""
        return self._state.device_id

    @property
    def incarnation(self) -> int:
        """A random number, not 0, that changes when the file is lost and made again."""
        return self._state.incarnation

    @property
    def next_seq(self) -> int:
        """The number of the next delta; the first is 1."""
        return self._state.next_seq

    @property
    def last_acked_seq(self) -> int:
        """The highest seq that the shard has acked; 0 for none."""
        return self._state.last_acked_seq

    @property
    def quality_threshold(self) -> float:
        """Success rate below which patterns stay on the device: 0.7, until the shard sets it."""
        return self._state.quality_threshold

    @property
    def patterns_per_delta(self) -> int:
        """Upserts and removals in one delta at most: 64, until the shard sets it."""
        return self._state.patterns_per_delta

    @property
    def pending_deltas(self) -> Sequence[PendingDelta]:
        """Deltas that are not acked yet, in ascending order of seq."""
        return self._pending_deltas

    @property
    def write_problem(self) -> str | None:
        """Why the file takes no writes at present; None while it does."""
        return self._write_problem.text

    def read_delta(self, seq: int) -> bytes:
        """Return a pending delta as it is sent: an encoded `constellation.v1.Delta`.

        Call `mark_sent` before sending it. Raises StorageError when the disk refuses.
        """
        select = "SELECT message FROM deltas WHERE seq=?"
        with reading():
            row = self._connection.execute(select, (seq,)).fetchone()
        message: bytes = row[0]
        return message

    def mark_sent(self, seq: int) -> None:
        """Note that deltas up to `seq` may have left the device."""
        self.last_sent_seq = max(self.last_sent_seq, seq)

    def append(self, changes: LocalChanges) -> Sequence[int]:
        """Write changes to the file, with deltas for what concerns the shard; return their seqs.

        Raises StorageError when the disk refuses; then nothing has changed.
        """
        deltas = build_deltas(changes, self._read_shared(), self._state)
        seqs = range(self.next_seq, self.next_seq + len(deltas))
        state = replace(self._state, next_seq=seqs.stop)
        with self._transaction(state):
            write_learned(self._connection, changes, self.quality_threshold, seqs.start)
            inserted = self._insert_deltas(deltas, seqs)
        self._state = state
        self._pending_deltas += inserted
        if len(self._pending_deltas) > self._max_pending:
            self.compact_to_snapshot()
        return seqs

    def _insert_deltas(self, deltas: Sequence[pb.Delta], numbers: range) -> list[PendingDelta]:
        inserted = []
        for seq, delta in zip(numbers, deltas, strict=True):
            delta.seq = seq
            size = (len(delta.upserts.ids) + len(delta.removed_ids)) // ID_BYTES
            inserted.append(PendingDelta(seq, delta.snapshot, size))
            row = (seq, delta.snapshot, size, delta.SerializeToString())
            self._connection.execute("INSERT INTO deltas VALUES(?,?,?,?)", row)
        return inserted

    def compact_to_snapshot(self, min_seq: int = 0) -> None:
        """Replace all pending deltas with a snapshot whose seq is at least `min_seq`.

        Signals of deltas that never left the device are kept. Others are dropped, because the shard
        may have counted them. Raises StorageError when the disk refuses.
        """
        signals = [
            signal
            for pending in self._pending_deltas
            if pending.seq > self.last_sent_seq
            for signal in to_signals(self.read_delta(pending.seq))
        ]
        learned = [LearnedPattern(pattern) for pattern in self._read_shared().values()]
        state = replace(self._state, quality_threshold=0.0)
        deltas = build_deltas(LocalChanges(learned, signals=signals), {}, state, is_snapshot=True)
        first = max(self.next_seq, min_seq)
        seqs = range(first, first + len(deltas))
        state = replace(self._state, next_seq=seqs.stop)
        with self._transaction(state):
            self._connection.execute("DELETE FROM deltas")
            self._connection.execute(
                "UPDATE patterns SET shared_seq=? WHERE shared_seq>0", (first,)
            )
            inserted = self._insert_deltas(deltas, seqs)
        self._state = state
        log.info("a snapshot, seq %d, replaces %d deltas", first, len(self._pending_deltas))
        self._pending_deltas = inserted

    def begin_incarnation(self) -> None:
        """Take a new incarnation, so that the shard asks for a snapshot, whatever its cursor is.

        Raises StorageError when the disk refuses.
        """
        state = replace(self._state, incarnation=draw_incarnation())
        with self._transaction(state):
            pass
        self._state = state
        log.warning("the device begins a new incarnation")

    def acknowledge(self, through_seq: int, rejected: Mapping[int, bytes] | None = None) -> None:
        """Delete the deltas up to `through_seq`, but none that never left the device.

        `rejected` has, by seq, the ids of patterns that the shard did not store, 16 bytes each.
        Raises StorageError when the disk refuses.
        """
        through = min(through_seq, self.last_sent_seq)
        if through <= self.last_acked_seq:
            return
        state = replace(self._state, last_acked_seq=through)
        with self._transaction(state, Durability.PROCESS_CRASH):  # if lost, it is sent again
            if self._keep_journal:
                journal.write_acked(self._connection, through, rejected or {}, self._clock())
            self._connection.execute("DELETE FROM deltas WHERE seq<=?", (through,))
            for seq, ids in (rejected or {}).items():
                mark_unshared(self._connection, ids, seq)
        self._state = state
        self._pending_deltas = [
            pending for pending in self._pending_deltas if pending.seq > through
        ]

    def apply_rules(self, *, quality_threshold: float, patterns_per_delta: int) -> None:
        """Store the rules of the shard. Raises StorageError when the disk refuses."""
        state = replace(
            self._state,
            quality_threshold=quality_threshold,
            patterns_per_delta=max(1, patterns_per_delta),
        )
        if state != self._state:
            with self._transaction(state, Durability.PROCESS_CRASH):
                pass
            self._state = state

    @property
    def global_state(self) -> GlobalState:
        """What other households' devices learned. It is read from the file at first use.

        Raises StorageError when the disk refuses.
        """
        if self._global is None:
            with reading():
                self._global = read_global(self._connection, self._state.version)
        return self._global

    def save_global_state(self, state: GlobalState) -> None:
        """Replace the global state, and write what differs.

        Raises StorageError when the disk refuses.
        """
        before = self.global_state
        device_state = replace(self._state, version=state.version)
        with self._transaction(device_state, Durability.PROCESS_CRASH):  # if lost, sent again
            write_global(self._connection, before, state)
        self._state = device_state
        self._global = state

    def read_learned(self) -> Sequence[LearnedPattern]:
        """Return every own pattern as it was last written, for a new Brain.

        Raises StorageError when the disk refuses.
        """
        with reading():
            return read_learned(self._connection)

    def _read_shared(self) -> dict[bytes, Pattern]:
        with reading():
            return read_shared(self._connection)

    def read_watched(self) -> Sequence[str]:
        """Return the content items not to recommend again, at most 20,000, for a new Brain.

        Raises StorageError when the disk refuses.
        """
        with reading():
            return read_watched(self._connection)

    def read_journal(self) -> Iterator[AckedDelta]:
        """Yield every acked delta, in ascending order of seq; none without `keep_journal`.

        Raises StorageError when the disk refuses.
        """
        with reading():
            yield from journal.read_acked(self._connection)

    @contextmanager
    def _transaction(
        self, state: DeviceState, durability: Durability | None = None
    ) -> Iterator[None]:
        with (
            self._write_problem.watch(),
            transaction(self._connection, durability or self._durability),
        ):
            yield
            write_device_state(self._connection, self._state, state)
