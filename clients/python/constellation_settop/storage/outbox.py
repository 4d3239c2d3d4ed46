"""Outbox: the device's file, with its identity, deltas, patterns and the global state."""

from __future__ import annotations

import logging
import math
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from constellation.encoding import ID_BYTES
from constellation_settop.errors import InvalidArgumentError
from constellation_settop.storage import journal
from constellation_settop.storage.database import Durability, open_database, transaction
from constellation_settop.storage.deltas import build_deltas, merge_changes
from constellation_settop.storage.history import (
    delete_history,
    find_liked,
    read_history,
    seed_history,
    write_history,
)
from constellation_settop.storage.identity import (
    QUALITY_FLOOR,
    DeviceState,
    draw_incarnation,
    ensure_identity,
    read_device_state,
    write_device_state,
)
from constellation_settop.storage.problems import WriteProblem, reading
from constellation_settop.storage.queue import DeltaQueue
from constellation_settop.storage.rows import (
    delete_everything,
    delete_profile,
    mark_shared,
    mark_unshared,
    read_global,
    read_learned,
    read_profiles,
    read_shared,
    read_watched,
    write_global,
    write_learned,
)
from constellation_settop.storage.views import (
    delete_all_views,
    delete_views,
    insert_views,
    read_views,
)
from constellation_settop.values import DEFAULT_PROFILE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from constellation_settop.storage.journal import AckedDelta
    from constellation_settop.storage.queue import PendingDelta
    from constellation_settop.storage.views import UnsavedView
    from constellation_settop.values import (
        GlobalState,
        HistoryEntry,
        LearnedPattern,
        LocalChanges,
        Pattern,
        Signal,
    )

log = logging.getLogger("constellation_settop")

MAX_PENDING_DELTAS: Final = 64
"""Deltas that may wait for an ack. Beyond it, a snapshot replaces them."""


class Outbox:
    """The file of one device. It is bounded, except for the journal; it is not safe for threads.

    Every method raises StorageError when the disk refuses; then nothing has changed.

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
        quality_floor: float = QUALITY_FLOOR,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Use an open file that has an identity. Callers use `open`."""
        self._connection = connection
        self._durability = durability
        self._keep_journal = keep_journal
        self._max_pending = max_pending
        self._clock = clock
        self._write_problem = WriteProblem()
        self._quality_floor = quality_floor
        with reading():
            self._state = self._raise_threshold(read_device_state(connection))
        self._queue = DeltaQueue(connection, self._state.next_seq)
        self._global: GlobalState | None = None

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
        quality_floor: float = QUALITY_FLOOR,
    ) -> Iterator[Outbox]:
        """Open a device's file, or create it.

        Args:
            path: the file; ":memory:" means none.
            device_id: 16 bytes. A new file gets this identity, or a random one for None.
            durability: what a delta survives once it was appended.
            keep_journal: keep every acked delta for `read_journal`, without bound.
            max_pending: deltas that may wait for an ack before a snapshot replaces them.
            quality_floor: the lowest success rate of patterns that leave the device. A shard may
                ask for a higher one, never for a lower one.

        A damaged file is renamed to "<name>.damaged", and a new one takes its place. Raises
        InvalidArgumentError when the file belongs to another device, and StorageError when another
        process has it open or the disk refuses.
        """
        if device_id is not None and len(device_id) != ID_BYTES:
            raise InvalidArgumentError(f"device_id must be {ID_BYTES} bytes, got {len(device_id)}")
        with open_database(path) as connection:
            with transaction(connection, durability):
                ensure_identity(connection, device_id)
                seed_history(connection)
            outbox = cls(
                connection,
                durability,
                keep_journal=keep_journal,
                max_pending=max_pending,
                quality_floor=quality_floor,
            )
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
        """Success rate below which patterns stay on the device: `quality_floor`, or more.

        It is more when the shard asks for more.
        """
        return self._state.quality_threshold

    @property
    def patterns_per_delta(self) -> int:
        """Upserts and removals in one delta at most: 64, until the shard sets it."""
        return self._state.patterns_per_delta

    @property
    def is_sharing(self) -> bool:
        """False means that nothing but the withdrawal of what was shared leaves the device."""
        return self._state.is_sharing

    @property
    def pending_deltas(self) -> Sequence[PendingDelta]:
        """Deltas that are not acked yet, in ascending order of seq."""
        return self._queue.pending

    @property
    def last_sent_seq(self) -> int:
        """The highest seq that may have left the device; after opening, the highest in use."""
        return self._queue.last_sent_seq

    @property
    def write_problem(self) -> str | None:
        """Why the file takes no writes at present; None while it does."""
        return self._write_problem.text

    def read_delta(self, seq: int) -> bytes:
        """Return a pending delta as it is sent: an encoded `constellation.v1.Delta`.

        Call `mark_sent` before sending it.
        """
        return self._queue.read(seq)

    def mark_sent(self, seq: int) -> None:
        """Note that deltas up to `seq` may have left the device."""
        self._queue.last_sent_seq = max(self.last_sent_seq, seq)

    def append(self, *changes: LocalChanges) -> Sequence[int]:
        """Write changes to the file, with deltas for what concerns the shard; return their seqs.

        Give the changes of all profiles at once: the views that were kept are deleted.
        """
        merged = merge_changes(changes)
        deltas = build_deltas(merged, self._read_shared(), self._state) if self.is_sharing else []
        seqs = range(self.next_seq, self.next_seq + len(deltas))
        state = replace(self._state, next_seq=seqs.stop)
        with self._transaction(state):
            for each in changes:
                write_learned(self._connection, each, self._shared_threshold, seqs.start)
                write_history(self._connection, each.profile, each.history)
            delete_all_views(self._connection)
            inserted = self._queue.insert(deltas, seqs.start)
        self._state = state
        self._queue.pending = [*self._queue.pending, *inserted]
        if len(self._queue.pending) > self._max_pending:
            self.compact_to_snapshot()
        return seqs

    def keep_views(self, views: Sequence[UnsavedView]) -> None:
        """Make views durable until the changes of their profile are appended or forgotten."""
        with self._transaction():
            insert_views(self._connection, views)

    def drop_views(self) -> None:
        """Delete the views that were kept."""
        with self._transaction():
            delete_all_views(self._connection)

    def read_views(self) -> Sequence[UnsavedView]:
        """Return the views that were kept and not appended, in their order, to observe again."""
        with reading():
            return list(read_views(self._connection))

    @property
    def _shared_threshold(self) -> float:
        """Success rate from which patterns are shared: none is while `is_sharing` is False."""
        return self.quality_threshold if self.is_sharing else math.inf

    def compact_to_snapshot(self, min_seq: int = 0) -> None:
        """Replace all pending deltas with a snapshot whose seq is at least `min_seq`.

        Signals of deltas that never left the device are kept. Others are dropped, because the shard
        may have counted them.
        """
        count = len(self._queue.pending)
        signals = self._queue.read_unsent_signals()
        with self._transaction() as write_state:
            snapshot = self._queue.insert_snapshot(self._state, signals, min_seq)
            write_state(snapshot[0])
        self._state, self._queue.pending = snapshot
        log.info("a snapshot, seq %d, replaces %d deltas", self._queue.pending[0].seq, count)

    def forget(self, changes: LocalChanges, content_ids: Sequence[str]) -> None:
        """Delete some content items from a profile's history, and tell the shard by a snapshot.

        `changes` are those of the patterns, which must be learned without these content items.
        Signals of them that never left the device are dropped, and so are the related rows that
        would tell of them, unless another profile likes them.
        """
        with self._withdrawing(content_ids, changes.signals):
            write_learned(self._connection, changes, self._shared_threshold, self.next_seq)
            write_history(self._connection, changes.profile, changes.history)
            delete_history(self._connection, changes.profile, content_ids)
            delete_views(self._connection, changes.profile)

    def forget_profile(self, profile: str) -> None:
        """Delete everything that tells of a profile, and tell the shard by a snapshot.

        Signals and related rows go as those of `forget` do.
        """
        content_ids = [entry.content_id for entry in self.read_history(profile)]
        with self._withdrawing(content_ids):
            delete_profile(self._connection, profile)

    @contextmanager
    def _withdrawing(
        self, content_ids: Sequence[str], new_signals: Sequence[Signal] = ()
    ) -> Iterator[None]:
        """Replace the pending deltas with a snapshot of what the block leaves."""
        before = self.global_state
        with self._transaction() as write_state:
            yield
            gone = set(content_ids) - find_liked(self._connection, content_ids)
            related = {
                row_id: row for row_id, row in before.related.items() if row.content_id not in gone
            }
            after = replace(before, related=related)
            write_global(self._connection, before, after)
            signals = [*self._queue.read_unsent_signals(), *new_signals]
            kept_signals = [each for each in signals if each.content_id not in gone]
            snapshot = self._queue.insert_snapshot(self._state, kept_signals)
            write_state(snapshot[0])
        self._state, self._queue.pending = snapshot
        self._global = after

    def forget_everything(self) -> None:
        """Delete everything that tells of the household, and begin a new incarnation.

        The shard gets an empty snapshot. The identity and what is the same for all devices stay.
        """
        after = replace(self.global_state, similar={}, related={})
        state = replace(self._state, incarnation=draw_incarnation())
        with self._transaction() as write_state:
            delete_everything(self._connection)
            snapshot = self._queue.insert_snapshot(state)
            write_state(snapshot[0])
        self._state, self._queue.pending = snapshot
        self._global = after
        log.info("everything that was learned is forgotten")

    def set_sharing(self, *, is_sharing: bool) -> None:
        """Share what was learned, or withdraw all of it; both by a snapshot."""
        if is_sharing == self.is_sharing:
            return
        state = replace(self._state, is_sharing=is_sharing)
        threshold = self.quality_threshold if is_sharing else math.inf
        with self._transaction() as write_state:
            mark_shared(self._connection, threshold, self.next_seq)
            snapshot = self._queue.insert_snapshot(state)
            write_state(snapshot[0])
        self._state, self._queue.pending = snapshot
        log.info("sharing is %s", "on" if is_sharing else "off: what was shared is withdrawn")

    def begin_incarnation(self) -> None:
        """Take a new incarnation, so that the shard asks for a snapshot, whatever its cursor."""
        state = replace(self._state, incarnation=draw_incarnation())
        with self._transaction(state):
            pass
        self._state = state
        log.warning("the device begins a new incarnation")

    def acknowledge(self, through_seq: int, rejected: Mapping[int, bytes] | None = None) -> None:
        """Delete the deltas up to `through_seq`, but none that never left the device.

        `rejected` has, by seq, the ids of patterns that the shard did not store, 16 bytes each.
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
        self._queue.pending = [each for each in self._queue.pending if each.seq > through]

    def apply_rules(self, *, quality_threshold: float, patterns_per_delta: int) -> None:
        """Store the rules of the shard: a threshold below `quality_floor` does not count.

        Raises StorageError when the disk refuses.
        """
        state = self._raise_threshold(
            replace(
                self._state,
                quality_threshold=quality_threshold,
                patterns_per_delta=max(1, patterns_per_delta),
            )
        )
        if state != self._state:
            with self._transaction(state, Durability.PROCESS_CRASH):
                pass
            self._state = state

    def _raise_threshold(self, state: DeviceState) -> DeviceState:
        """Return a state whose threshold is at least that of the device itself."""
        threshold = max(self._quality_floor, state.quality_threshold)
        return replace(state, quality_threshold=threshold)

    @property
    def global_state(self) -> GlobalState:
        """What other households' devices learned. It is read from the file at first use."""
        if self._global is None:
            with reading():
                self._global = read_global(self._connection, self._state.version)
        return self._global

    def release_global_state(self) -> None:
        """Give up the copy of the global state in memory: the next use reads the file."""
        self._global = None

    def save_global_state(self, state: GlobalState) -> None:
        """Replace the global state, and write what differs."""
        before = self.global_state
        device_state = replace(self._state, version=state.version)
        with self._transaction(device_state, Durability.PROCESS_CRASH):  # if lost, sent again
            write_global(self._connection, before, state)
        self._state = device_state
        self._global = state

    def read_profiles(self) -> Sequence[str]:
        """Return the names of the profiles that watched or learned something."""
        with reading():
            return read_profiles(self._connection)

    def read_learned(self, profile: str = DEFAULT_PROFILE) -> Sequence[LearnedPattern]:
        """Return every pattern of a profile as it was last written, for a new Brain."""
        with reading():
            return read_learned(self._connection, profile)

    def _read_shared(self) -> dict[bytes, Pattern]:
        with reading():
            return read_shared(self._connection)

    def read_watched(self, profile: str = DEFAULT_PROFILE) -> Sequence[str]:
        """Return what not to recommend again, at most 20,000 content items, for a new Brain."""
        with reading():
            return read_watched(self._connection, profile)

    def read_history(self, profile: str = DEFAULT_PROFILE) -> Sequence[HistoryEntry]:
        """Return a profile's history, at most 2,000 entries, oldest first, for a new Brain."""
        with reading():
            return read_history(self._connection, profile)

    def read_journal(self) -> Iterator[AckedDelta]:
        """Yield every acked delta, in ascending order of seq; none without `keep_journal`."""
        with reading():
            yield from journal.read_acked(self._connection)

    @contextmanager
    def _transaction(
        self, state: DeviceState | None = None, durability: Durability | None = None
    ) -> Iterator[Callable[[DeviceState], None]]:
        """Write `state` at the end of the block, or what the block passes to the yielded function.

        The block then assigns it to `_state` itself, once this has committed.
        """
        with (
            self._write_problem.watch(),
            transaction(self._connection, durability or self._durability),
        ):
            yield partial(write_device_state, self._connection, self._state)
            if state is not None:
                write_device_state(self._connection, self._state, state)
