"""The journal of acked deltas, with which tests check that none was lost or applied twice."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from constellation.v1 import patterns_pb2 as pb
from constellation_settop.related_columns import split_ids

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class PatternStats:
    """The success rate and sample count that the shard must have stored for one pattern."""

    success_rate: float
    """From 0 to 1, rounded to float32 as on the wire."""
    sample_count: int


@dataclass(frozen=True, slots=True)
class AckedDelta:
    """One delta that the shard has acked, and thereby promised to have stored."""

    seq: int
    digest: bytes
    """16 bytes: BLAKE2b of the delta as it was sent."""
    is_snapshot: bool
    """True when the delta replaces all that the shard has of the device."""
    upserts: Mapping[bytes, PatternStats]
    """By pattern id."""
    removed_ids: tuple[bytes, ...]
    """Ids of patterns that the delta removes."""
    rejected_ids: tuple[bytes, ...]
    """Ids of `upserts` that the shard did not store."""
    signal_count: int
    acked_at: float
    """Time of the ack, in seconds since 1970."""


def write_acked(
    connection: sqlite3.Connection, through_seq: int, rejected_ids: Mapping[int, bytes], now: float
) -> None:
    """Copy the deltas up to `through_seq` into the journal. Call it inside a transaction.

    `rejected_ids` has, by seq, the ids of rejected patterns, 16 bytes each. `now` is in seconds
    since 1970.
    """
    rows = connection.execute("SELECT seq, message FROM deltas WHERE seq<=?", (through_seq,))
    connection.executemany(
        "INSERT OR REPLACE INTO acked_deltas VALUES(?,?,?,?)",
        [(seq, message, rejected_ids.get(seq, b""), now) for seq, message in rows.fetchall()],
    )


def read_acked(connection: sqlite3.Connection) -> Iterator[AckedDelta]:
    """Yield every delta of the journal, in ascending order of seq."""
    for seq, message, rejected_ids, acked_at in connection.execute(
        "SELECT seq, message, rejected_ids, acked_at FROM acked_deltas ORDER BY seq"
    ):
        delta = pb.Delta.FromString(message)
        columns = delta.upserts
        values = map(PatternStats, columns.success_rates, columns.sample_counts)
        yield AckedDelta(
            seq,
            blake2b(message, digest_size=16).digest(),
            delta.snapshot,
            dict(zip(split_ids(columns.ids), values, strict=True)),
            tuple(split_ids(delta.removed_ids)),
            tuple(split_ids(rejected_ids)),
            len(delta.signals.content_ids),
            acked_at,
        )


def replay(entries: Iterable[AckedDelta]) -> dict[bytes, PatternStats]:
    """Return the patterns of a shard that applied exactly these deltas in order, by pattern id.

    Example: `replay(outbox.read_journal())` is what the shard must have stored of the device.
    """
    patterns: dict[bytes, PatternStats] = {}
    for entry in entries:
        if entry.is_snapshot:
            patterns.clear()
        for pattern_id in entry.removed_ids:
            patterns.pop(pattern_id, None)
        patterns.update(entry.upserts)
        for pattern_id in entry.rejected_ids:
            patterns.pop(pattern_id, None)
    return patterns
