"""The deltas that wait in the device's file until the shard has acked them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from constellation.encoding import ID_BYTES
from constellation_settop.storage.deltas import build_snapshot, to_signals
from constellation_settop.storage.history import read_latest_likes
from constellation_settop.storage.problems import explain_read_errors
from constellation_settop.storage.rows import read_shared

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from constellation.v1 import patterns_pb2 as pb
    from constellation_settop.storage.identity import DeviceState
    from constellation_settop.values import Signal


@dataclass(frozen=True, slots=True)
class PendingDelta:
    """A delta that is not acked yet. Its message stays in the file."""

    seq: int
    is_snapshot: bool
    """True when the delta replaces all that the shard has of the device."""
    size: int
    """Number of upserts and removals."""


class DeltaQueue:
    """The pending deltas of one file. What it writes belongs to a transaction of the caller."""

    def __init__(self, connection: sqlite3.Connection, next_seq: int) -> None:
        """Read which deltas the file has. Raises StorageError when the disk refuses."""
        self._connection = connection
        with explain_read_errors():
            rows = connection.execute("SELECT seq, snapshot, size FROM deltas ORDER BY seq")
            pending: Sequence[PendingDelta] = [
                PendingDelta(seq, bool(snapshot), size) for seq, snapshot, size in rows
            ]
        self.pending = pending
        """The pending deltas, in ascending order of seq. The caller sets it after a commit."""
        self.last_sent_seq = next_seq - 1
        """The highest seq that may have left the device; after opening, the highest in use."""

    def read(self, seq: int) -> bytes:
        """Return an encoded delta. Raises StorageError when the disk refuses."""
        select = "SELECT message FROM deltas WHERE seq=?"
        with explain_read_errors():
            row = self._connection.execute(select, (seq,)).fetchone()
        message: bytes = row[0]
        return message

    def read_unsent_signals(self) -> list[Signal]:
        """Return the signals of the deltas that never left the device."""
        return [
            signal
            for pending in self.pending
            if pending.seq > self.last_sent_seq
            for signal in to_signals(self.read(pending.seq))
        ]

    def insert(self, deltas: Sequence[pb.Delta], first_seq: int) -> list[PendingDelta]:
        """Write deltas, numbered from `first_seq` on, and return what to add to `pending`."""
        inserted = []
        for seq, delta in enumerate(deltas, first_seq):
            delta.seq = seq
            size = (len(delta.upserts.ids) + len(delta.removed_ids)) // ID_BYTES
            inserted.append(PendingDelta(seq, delta.snapshot, size))
            row = (seq, delta.snapshot, size, delta.SerializeToString())
            self._connection.execute("INSERT INTO deltas VALUES(?,?,?,?)", row)
        return inserted

    def insert_snapshot(
        self, before: DeviceState, signals: Sequence[Signal] = (), min_seq: int = 0
    ) -> tuple[DeviceState, list[PendingDelta]]:
        """Replace all deltas with a snapshot of what is shared, whose seq is at least `min_seq`.

        Return the device's state and the pending deltas after it.
        """
        patterns = list(read_shared(self._connection).values())
        liked_ids: Sequence[str] = ()
        if before.is_sharing:
            liked_ids = read_latest_likes(self._connection)
        else:
            signals = ()
        deltas = build_snapshot(patterns, signals, liked_ids, before.patterns_per_delta)
        first = max(before.next_seq, min_seq)
        self._connection.execute("DELETE FROM deltas")
        self._connection.execute("UPDATE patterns SET shared_seq=? WHERE shared_seq>0", (first,))
        return replace(before, next_seq=first + len(deltas)), self.insert(deltas, first)
