"""What a device must not lose: its identity, numbered deltas, patterns, and the global state."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from constellation.encoding import ID_BYTES
from constellation.v1 import patterns_pb2 as pb
from constellation_settop.errors import WrongCallError
from constellation_settop.storage import journal
from constellation_settop.storage.database import Durability, open_database, transaction
from constellation_settop.storage.deltas import cut, signals_of
from constellation_settop.storage.identity import Facts, identify, read_facts, write_facts
from constellation_settop.storage.rows import (
    read_global,
    read_learned,
    read_shared,
    read_watched,
    unshare,
    write_global,
    write_learned,
)
from constellation_settop.values import Changes, GlobalState, Learned

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from constellation_settop.storage.journal import AckedDelta

log = logging.getLogger("constellation_settop")

MAX_PENDING: Final = 64


@dataclass(frozen=True, slots=True)
class Pending:
    """A delta that is not acked; its message stays on the disk until it is sent."""

    seq: int
    snapshot: bool
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
        max_pending: int = MAX_PENDING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use a file that `open_database` opened, with an identity; see `open`."""
        self._connection = connection
        self._durability = durability
        self._keep_journal = keep_journal
        self._max_pending = max_pending
        self._clock = clock
        self._facts = read_facts(connection)
        rows = connection.execute("SELECT seq, snapshot, size FROM deltas ORDER BY seq")
        self._pending = [Pending(seq, bool(snapshot), size) for seq, snapshot, size in rows]
        self._global: GlobalState | None = None
        self.sent_through = self._facts.next_seq - 1
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
        max_pending: int = MAX_PENDING,
    ) -> Iterator[Outbox]:
        """Open a device's file, or make it: then `device_id`, or a random one, is its identity."""
        if device_id is not None and len(device_id) != ID_BYTES:
            raise WrongCallError(f"device_id must be {ID_BYTES} bytes, got {len(device_id)}")
        with open_database(path) as connection:
            with transaction(connection, durability):
                identify(connection, device_id)
            outbox = cls(connection, durability, keep_journal=keep_journal, max_pending=max_pending)
            if device_id not in {None, outbox.device_id}:
                raise WrongCallError(f"{path} belongs to another device")
            yield outbox

    @property
    def device_id(self) -> bytes:
        return self._facts.device_id

    @property
    def incarnation(self) -> int:
        """Random and not zero; another one once the file was lost."""
        return self._facts.incarnation

    @property
    def next_seq(self) -> int:
        return self._facts.next_seq

    @property
    def last_acked_seq(self) -> int:
        return self._facts.last_acked_seq

    @property
    def quality_threshold(self) -> float:
        """Patterns below stay on the device; the shard's, once it said so."""
        return self._facts.quality_threshold

    @property
    def patterns_per_delta(self) -> int:
        """Upserts and removals a delta may hold."""
        return self._facts.patterns_per_delta

    @property
    def pending(self) -> Sequence[Pending]:
        """Deltas that are not acked, in the order of seq."""
        return self._pending

    def message(self, seq: int) -> pb.Delta:
        """Return a pending delta as it is sent; the caller says so with `mark_sent`."""
        row = self._connection.execute("SELECT message FROM deltas WHERE seq=?", (seq,)).fetchone()
        return pb.Delta.FromString(row[0])

    def mark_sent(self, seq: int) -> None:
        self.sent_through = max(self.sent_through, seq)

    def append(self, changes: Changes) -> Sequence[int]:
        """Make changes durable, and number deltas for what concerns the shard; return their seqs.

        Raises StorageError; then nothing changed.
        """
        deltas = cut(changes, read_shared(self._connection), self._facts)
        numbers = range(self.next_seq, self.next_seq + len(deltas))
        facts = replace(self._facts, next_seq=numbers.stop)
        with self._transaction(facts):
            write_learned(self._connection, changes, self.quality_threshold, numbers.start)
            added = self._insert(deltas, numbers)
        self._facts = facts
        self._pending += added
        if len(self._pending) > self._max_pending:
            self.collapse()
        return numbers

    def _insert(self, deltas: Sequence[pb.Delta], numbers: range) -> list[Pending]:
        added = []
        for seq, delta in zip(numbers, deltas, strict=True):
            delta.seq = seq
            size = (len(delta.upserts.ids) + len(delta.removed_ids)) // ID_BYTES
            added.append(Pending(seq, delta.snapshot, size))
            row = (seq, delta.snapshot, size, delta.SerializeToString())
            self._connection.execute("INSERT INTO deltas VALUES(?,?,?,?)", row)
        return added

    def collapse(self, least_seq: int = 0) -> None:
        """Replace everything that waits with one snapshot, numbered `least_seq` or later.

        Signals are kept of deltas that never left; those of others may have been counted.
        """
        signals = [
            signal
            for pending in self._pending
            if pending.seq > self.sent_through
            for signal in signals_of(self.message(pending.seq))
        ]
        learned = [Learned(pattern) for pattern in read_shared(self._connection).values()]
        facts = replace(self._facts, quality_threshold=0.0)
        deltas = cut(Changes(learned, signals=signals), {}, facts, snapshot=True)
        first = max(self.next_seq, least_seq)
        numbers = range(first, first + len(deltas))
        facts = replace(self._facts, next_seq=numbers.stop)
        with self._transaction(facts):
            self._connection.execute("DELETE FROM deltas")
            self._connection.execute(
                "UPDATE patterns SET shared_seq=? WHERE shared_seq>0", (first,)
            )
            added = self._insert(deltas, numbers)
        self._facts = facts
        log.info("%d deltas collapsed into a snapshot, seq %d", len(self._pending), first)
        self._pending = added

    def acknowledge(self, through_seq: int, rejected: Mapping[int, bytes] | None = None) -> None:
        """Forget deltas up to `through_seq`. A seq that never left the device cannot be acked.

        `rejected` holds, by seq, the ids of patterns that were not stored, 16 bytes each.
        """
        through = min(through_seq, self.sent_through)
        if through <= self.last_acked_seq:
            return
        facts = replace(self._facts, last_acked_seq=through)
        with self._transaction(facts, Durability.PROCESS_CRASH):  # lost: the delta is sent again
            if self._keep_journal:
                journal.write(self._connection, through, rejected or {}, self._clock())
            self._connection.execute("DELETE FROM deltas WHERE seq<=?", (through,))
            for seq, ids in (rejected or {}).items():
                unshare(self._connection, ids, seq)
        self._facts = facts
        self._pending = [pending for pending in self._pending if pending.seq > through]

    def follow(self, *, quality_threshold: float, patterns_per_delta: int) -> None:
        """Remember the shard's rules."""
        facts = replace(
            self._facts,
            quality_threshold=quality_threshold,
            patterns_per_delta=max(1, patterns_per_delta),
        )
        if facts != self._facts:
            with self._transaction(facts, Durability.PROCESS_CRASH):
                pass
            self._facts = facts

    @property
    def global_state(self) -> GlobalState:
        """What other households' devices learned; read from the file when first asked for."""
        if self._global is None:
            self._global = read_global(self._connection, self._facts.version)
        return self._global

    def save_global(self, state: GlobalState) -> None:
        """Replace the global state; only what differs is written."""
        before = self.global_state
        facts = replace(self._facts, version=state.version)
        with self._transaction(facts, Durability.PROCESS_CRASH):  # lost: the shard sends it again
            write_global(self._connection, before, state)
        self._facts = facts
        self._global = state

    def learned(self) -> Sequence[Learned]:
        """Return every own pattern, as last made durable."""
        return read_learned(self._connection)

    def watched(self) -> Sequence[str]:
        """Return the contents not to recommend again."""
        return read_watched(self._connection)

    def journal(self) -> Iterator[AckedDelta]:
        """Yield every acked delta; empty unless opened with `keep_journal`."""
        return journal.read(self._connection)

    @contextmanager
    def _transaction(self, facts: Facts, durability: Durability | None = None) -> Iterator[None]:
        with transaction(self._connection, durability or self._durability):
            yield
            write_facts(self._connection, self._facts, facts)
