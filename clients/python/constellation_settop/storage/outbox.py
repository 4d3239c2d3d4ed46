"""What a device must not lose: its identity, numbered deltas, patterns, and the global state."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from constellation.encoding import ID_BYTES
from constellation.v1 import patterns_pb2 as pb
from constellation_settop.errors import InvalidArgumentError
from constellation_settop.storage import journal
from constellation_settop.storage.database import Durability, open_database, transaction
from constellation_settop.storage.deltas import build_deltas, to_signals
from constellation_settop.storage.identity import (
    DeviceState,
    ensure_identity,
    read_device_state,
    write_device_state,
)
from constellation_settop.storage.rows import (
    mark_unshared,
    read_global,
    read_learned,
    read_shared,
    read_watched,
    write_global,
    write_learned,
)
from constellation_settop.values import GlobalState, LearnedPattern, LocalChanges

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from constellation_settop.storage.journal import AckedDelta

log = logging.getLogger("constellation_settop")

MAX_PENDING_DELTAS: Final = 64


@dataclass(frozen=True, slots=True)
class PendingDelta:
    """A delta that is not acked; its message stays on the disk until it is sent."""

    seq: int
    is_snapshot: bool
    size: int
    """Upserts and removals in it."""


class Outbox:
    """One device's file. Not safe for threads; bounded by `max_pending` deltas."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        durability: Durability = Durability.POWER_FAILURE,
        *,
        keep_journal: bool = False,
        max_pending: int = MAX_PENDING_DELTAS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use a file that `open_database` opened, with an identity; see `open`."""
        self._connection = connection
        self._durability = durability
        self._keep_journal = keep_journal
        self._max_pending = max_pending
        self._clock = clock
        self._state = read_device_state(connection)
        rows = connection.execute("SELECT seq, snapshot, size FROM deltas ORDER BY seq")
        self._pending_deltas = [
            PendingDelta(seq, bool(snapshot), size) for seq, snapshot, size in rows
        ]
        self._global: GlobalState | None = None
        self.last_sent_seq = self._state.next_seq - 1
        """The highest seq that may ever have left the device: at first, all that the file knows."""

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
        """Open a device's file, or make it: then `device_id`, or a random one, is its identity."""
        if device_id is not None and len(device_id) != ID_BYTES:
            raise InvalidArgumentError(f"device_id must be {ID_BYTES} bytes, got {len(device_id)}")
        with open_database(path) as connection:
            with transaction(connection, durability):
                ensure_identity(connection, device_id)
            outbox = cls(connection, durability, keep_journal=keep_journal, max_pending=max_pending)
            if device_id not in {None, outbox.device_id}:
                raise InvalidArgumentError(f"{path} belongs to another device")
            yield outbox

    @property
    def device_id(self) -> bytes:
        return self._state.device_id

    @property
    def incarnation(self) -> int:
        """Random and not zero; another one once the file was lost."""
        return self._state.incarnation

    @property
    def next_seq(self) -> int:
        return self._state.next_seq

    @property
    def last_acked_seq(self) -> int:
        return self._state.last_acked_seq

    @property
    def quality_threshold(self) -> float:
        """Patterns below stay on the device; the shard's, once it said so."""
        return self._state.quality_threshold

    @property
    def patterns_per_delta(self) -> int:
        """Upserts and removals a delta may hold."""
        return self._state.patterns_per_delta

    @property
    def pending_deltas(self) -> Sequence[PendingDelta]:
        """Deltas that are not acked, in the order of seq."""
        return self._pending_deltas

    def read_delta(self, seq: int) -> pb.Delta:
        """Return a pending delta as it is sent; the caller says so with `mark_sent`."""
        row = self._connection.execute("SELECT message FROM deltas WHERE seq=?", (seq,)).fetchone()
        return pb.Delta.FromString(row[0])

    def mark_sent(self, seq: int) -> None:
        self.last_sent_seq = max(self.last_sent_seq, seq)

    def append(self, changes: LocalChanges) -> Sequence[int]:
        """Make changes durable, and number deltas for what concerns the shard; return their seqs.

        Raises StorageError; then nothing changed.
        """
        deltas = build_deltas(changes, read_shared(self._connection), self._state)
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
        """Replace everything that waits with one snapshot, numbered `least_seq` or later.

        Signals are kept of deltas that never left; those of others may have been counted.
        """
        signals = [
            signal
            for pending in self._pending_deltas
            if pending.seq > self.last_sent_seq
            for signal in to_signals(self.read_delta(pending.seq))
        ]
        learned = [LearnedPattern(pattern) for pattern in read_shared(self._connection).values()]
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
        log.info("%d deltas collapsed into a snapshot, seq %d", len(self._pending_deltas), first)
        self._pending_deltas = inserted

    def acknowledge(self, through_seq: int, rejected: Mapping[int, bytes] | None = None) -> None:
        """Forget deltas up to `through_seq`. A seq that never left the device cannot be acked.

        `rejected` holds, by seq, the ids of patterns that were not stored, 16 bytes each.
        """
        through = min(through_seq, self.last_sent_seq)
        if through <= self.last_acked_seq:
            return
        state = replace(self._state, last_acked_seq=through)
        with self._transaction(state, Durability.PROCESS_CRASH):  # lost: the delta is sent again
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
        """Remember the shard's rules."""
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
        """What other households' devices learned; read from the file when first asked for."""
        if self._global is None:
            self._global = read_global(self._connection, self._state.version)
        return self._global

    def save_global_state(self, state: GlobalState) -> None:
        """Replace the global state; only what differs is written."""
        before = self.global_state
        device_state = replace(self._state, version=state.version)
        with self._transaction(
            device_state, Durability.PROCESS_CRASH
        ):  # lost: the shard sends it again
            write_global(self._connection, before, state)
        self._state = device_state
        self._global = state

    def read_learned(self) -> Sequence[LearnedPattern]:
        """Return every own pattern, as last made durable."""
        return read_learned(self._connection)

    def read_watched(self) -> Sequence[str]:
        """Return the contents not to recommend again."""
        return read_watched(self._connection)

    def read_journal(self) -> Iterator[AckedDelta]:
        """Yield every acked delta; empty unless opened with `keep_journal`."""
        return journal.read_acked(self._connection)

    @contextmanager
    def _transaction(
        self, state: DeviceState, durability: Durability | None = None
    ) -> Iterator[None]:
        with transaction(self._connection, durability or self._durability):
            yield
            write_device_state(self._connection, self._state, state)
