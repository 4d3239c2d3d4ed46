"""Outbox: the device's file, with its identity, deltas, patterns and the global state."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from constellation.encoding import ID_BYTES
from constellation_settop.errors import InvalidArgumentError
from constellation_settop.storage import journal, withdrawal
from constellation_settop.storage.database import Durability, open_database, transaction
from constellation_settop.storage.deltas import build_deltas, merge_changes
from constellation_settop.storage.device_file import DeviceFile
from constellation_settop.storage.history import (
    read_history,
    seed_history,
    write_history,
)
from constellation_settop.storage.identity import (
    QUALITY_FLOOR,
    draw_incarnation,
    ensure_identity,
)
from constellation_settop.storage.problems import explain_read_errors
from constellation_settop.storage.rows import (
    mark_unshared,
    read_learned,
    read_profiles,
    read_shared,
    read_watched,
    write_global,
    write_learned,
)
from constellation_settop.storage.views import (
    delete_all_views,
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
        self.file = DeviceFile(connection, durability, quality_floor)
        """The open file, for the other parts of `storage`."""
        self._connection = connection
        self._queue = self.file.queue
        self._keep_journal = keep_journal
        self._max_pending = max_pending
        self._clock = clock

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
        return self.file.device.device_id

    @property
    def incarnation(self) -> int:
        """A random number, not 0, that changes when the file is lost and made again."""
        return self.file.device.incarnation

    @property
    def next_seq(self) -> int:
        """The number of the next delta; the first is 1."""
        return self.file.device.next_seq

    @property
    def last_acked_seq(self) -> int:
        """The highest seq that the shard has acked; 0 for none."""
        return self.file.device.last_acked_seq

    @property
    def quality_threshold(self) -> float:
        """Success rate below which patterns stay on the device: `quality_floor`, or more.

        It is more when the shard asks for more.
        """
        return self.file.device.quality_threshold

    @property
    def patterns_per_delta(self) -> int:
        """The most upserts and removals in one delta: 64, until the shard sets it."""
        return self.file.device.patterns_per_delta

    @property
    def is_sharing(self) -> bool:
        """False means that nothing but the withdrawal of what was shared leaves the device."""
        return self.file.device.is_sharing

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
        return self.file.write_problem.text

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
        merged, device = merge_changes(changes), self.file.device
        deltas = build_deltas(merged, self._read_shared(), device) if self.is_sharing else []
        seqs = range(self.next_seq, self.next_seq + len(deltas))
        with self.file.transaction() as after:
            for each in changes:
                write_learned(self._connection, each, device.shared_threshold, seqs.start)
                write_history(self._connection, each.profile, each.history)
            delete_all_views(self._connection)
            after.pending = [*after.pending, *self._queue.insert(deltas, seqs.start)]
            after.device = replace(device, next_seq=seqs.stop)
        if len(self.pending_deltas) > self._max_pending:
            self.compact_to_snapshot()
        return seqs

    def keep_views(self, views: Sequence[UnsavedView]) -> None:
        """Make views durable until the changes of their profile are appended or forgotten."""
        with self.file.transaction():
            insert_views(self._connection, views)

    def drop_views(self) -> None:
        """Delete the views that were kept."""
        with self.file.transaction():
            delete_all_views(self._connection)

    def read_views(self) -> Sequence[UnsavedView]:
        """Return the views that were kept and not appended, in their order, to observe again."""
        with explain_read_errors():
            return list(read_views(self._connection))

    def compact_to_snapshot(self, min_seq: int = 0) -> None:
        """Replace all pending deltas with a snapshot whose seq is at least `min_seq`.

        Signals of deltas that never left the device are kept. Others are dropped, because the shard
        may have counted them.
        """
        count = len(self.pending_deltas)
        signals = self._queue.read_unsent_signals()
        with self.file.transaction() as after:
            snapshot = self._queue.insert_snapshot(after.device, signals, min_seq)
            after.device, after.pending = snapshot
        log.info("a snapshot, seq %d, replaces %d deltas", self.pending_deltas[0].seq, count)

    def forget(self, changes: LocalChanges, content_ids: Sequence[str]) -> None:
        """Delete content items from a profile's history, and append a snapshot without them.

        `changes` are those of the patterns, which must be learned without these content items.
        Their signals that never left the device are dropped, unless another profile likes them. All
        related rows are dropped as well; the next sync brings them back.
        """
        withdrawal.forget_contents(self.file, changes, content_ids)

    def forget_profile(self, profile: str) -> None:
        """Delete everything about a profile, and append a snapshot without it.

        Signals and related rows go as those of `forget` do.
        """
        withdrawal.forget_profile(self.file, profile)

    def forget_everything(self) -> None:
        """Delete everything about the household, and begin a new incarnation.

        The shard gets an empty snapshot. The identity and what is the same for all devices stay.
        """
        withdrawal.forget_everything(self.file)

    def set_sharing(self, *, is_sharing: bool) -> None:
        """Share what was learned, or withdraw all of it; both by a snapshot."""
        if is_sharing != self.is_sharing:
            withdrawal.set_sharing(self.file, is_sharing=is_sharing)

    def begin_incarnation(self) -> None:
        """Take a new incarnation, so that the shard asks for a snapshot, whatever its cursor."""
        with self.file.transaction() as after:
            after.device = replace(after.device, incarnation=draw_incarnation())
        log.warning("the device begins a new incarnation")

    def acknowledge(self, through_seq: int, rejected: Mapping[int, bytes] | None = None) -> None:
        """Delete the deltas up to `through_seq`, but none that never left the device.

        `rejected` has, by seq, the ids of patterns that the shard did not store, 16 bytes each.
        """
        through = min(through_seq, self.last_sent_seq)
        if through <= self.last_acked_seq:
            return
        with self.file.transaction(Durability.PROCESS_CRASH) as after:  # if lost, it is sent again
            if self._keep_journal:
                journal.write_acked(self._connection, through, rejected or {}, self._clock())
            self._connection.execute("DELETE FROM deltas WHERE seq<=?", (through,))
            for seq, ids in (rejected or {}).items():
                mark_unshared(self._connection, ids, seq)
            after.pending = [each for each in after.pending if each.seq > through]
            after.device = replace(after.device, last_acked_seq=through)

    def apply_rules(self, *, quality_threshold: float, patterns_per_delta: int) -> None:
        """Store the rules of the shard: a threshold below `quality_floor` does not count.

        Raises StorageError when the disk refuses.
        """
        state = self.file.raise_threshold(
            replace(
                self.file.device,
                quality_threshold=quality_threshold,
                patterns_per_delta=max(1, patterns_per_delta),
            )
        )
        if state != self.file.device:
            with self.file.transaction(Durability.PROCESS_CRASH) as after:
                after.device = state

    @property
    def global_state(self) -> GlobalState:
        """What other households' devices learned. It is read from the file at first use."""
        return self.file.global_state

    def release_global_state(self) -> None:
        """Give up the copy of the global state in memory: the next use reads the file."""
        self.file.release_global_state()

    def save_global_state(self, state: GlobalState) -> None:
        """Replace the global state, and write what differs."""
        before = self.global_state
        with self.file.transaction(Durability.PROCESS_CRASH) as after:  # if lost, it is sent again
            write_global(self._connection, before, state)
            after.device = replace(after.device, version=state.version)
            after.global_state = state

    def read_profiles(self) -> Sequence[str]:
        """Return the names of the profiles that watched or learned something."""
        with explain_read_errors():
            return read_profiles(self._connection)

    def read_learned(self, profile: str = DEFAULT_PROFILE) -> Sequence[LearnedPattern]:
        """Return every pattern of a profile as it was last written, for a new Brain."""
        with explain_read_errors():
            return read_learned(self._connection, profile)

    def _read_shared(self) -> dict[bytes, Pattern]:
        with explain_read_errors():
            return read_shared(self._connection)

    def read_watched(self, profile: str = DEFAULT_PROFILE) -> Sequence[str]:
        """Return what not to recommend again, at most 20,000 content items, for a new Brain."""
        with explain_read_errors():
            return read_watched(self._connection, profile)

    def read_history(self, profile: str = DEFAULT_PROFILE) -> Sequence[HistoryEntry]:
        """Return a profile's history, at most 2,000 entries, oldest first, for a new Brain."""
        with explain_read_errors():
            return read_history(self._connection, profile)

    def read_journal(self) -> Iterator[AckedDelta]:
        """Yield every acked delta, in ascending order of seq; none without `keep_journal`."""
        with explain_read_errors():
            yield from journal.read_acked(self._connection)
