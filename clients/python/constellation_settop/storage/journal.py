"""What became of every acked delta, for checking that none was lost and none counted twice."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from constellation.v1 import patterns_pb2 as pb
from constellation_settop.columns import split_ids

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class PatternStats:
    """The values of one pattern as the shard must hold them."""

    success_rate: float
    """As float32."""
    sample_count: int


@dataclass(frozen=True, slots=True)
class AckedDelta:
    """One delta the shard promised to have stored."""

    seq: int
    digest: bytes
    """16 bytes over the delta as it was sent."""
    is_snapshot: bool
    upserts: Mapping[bytes, PatternStats]
    removed_ids: tuple[bytes, ...]
    rejected_ids: tuple[bytes, ...]
    """Those of `upserts` that the shard did not store."""
    signal_count: int
    acked_at: float
    """Seconds since 1970."""


def write_acked(
    connection: sqlite3.Connection, through_seq: int, rejected_ids: Mapping[int, bytes], now: float
) -> None:
    """Move deltas that are acked now into the journal; call it inside a transaction."""
    rows = connection.execute("SELECT seq, message FROM deltas WHERE seq<=?", (through_seq,))
    connection.executemany(
        "INSERT OR REPLACE INTO acked_deltas VALUES(?,?,?,?)",
        [(seq, message, rejected_ids.get(seq, b""), now) for seq, message in rows.fetchall()],
    )


def read_acked(connection: sqlite3.Connection) -> Iterator[AckedDelta]:
    """Yield every acked delta, in the order of seq."""
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
    """Return the patterns a shard holds that applied exactly these deltas, by pattern id."""
    held: dict[bytes, PatternStats] = {}
    for entry in entries:
        if entry.is_snapshot:
            held.clear()
        for pattern_id in entry.removed_ids:
            held.pop(pattern_id, None)
        held.update(entry.upserts)
        for pattern_id in entry.rejected_ids:
            held.pop(pattern_id, None)
    return held
