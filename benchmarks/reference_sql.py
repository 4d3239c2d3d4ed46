"""For comparison: a sync in plain SQL, as in the system that this one replaces.

Each sync runs four statements: INSERT … ON CONFLICT of one pattern into a table with an HNSW index,
the average embedding of the device, the nearest patterns of other devices, and trends by GROUP BY.
Four connections sync at the same time.
"""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import psycopg

from constellation.encoding import normalise_codes
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.encoding import Codes

CONNECTIONS: Final = 4
_GENRES: Final = ("drama", "comedy", "action", "noir", "family", "documentary", "horror", "sport")
_SCHEMA: Final = """
CREATE TABLE patterns (
  device_id uuid NOT NULL, pattern_id uuid NOT NULL, embedding vector(384) NOT NULL,
  success_rate real NOT NULL, sample_count integer NOT NULL, genre text NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (device_id, pattern_id)
)
"""
_INDEX: Final = """
CREATE INDEX ON patterns USING hnsw (embedding vector_cosine_ops)
  WITH (m = 32, ef_construction = 100)
"""
_INSERT: Final = """
INSERT INTO patterns (device_id, pattern_id, embedding, success_rate, sample_count, genre)
VALUES (%s, %s, %s::vector, %s, %s, %s)
ON CONFLICT (device_id, pattern_id) DO UPDATE SET embedding = excluded.embedding,
  success_rate = excluded.success_rate, sample_count = excluded.sample_count, updated_at = now()
"""
_AVERAGE: Final = "SELECT AVG(embedding)::text FROM patterns WHERE device_id = %s"
_SIMILAR: Final = """
SELECT device_id, pattern_id, embedding::text, success_rate, sample_count, genre FROM patterns
WHERE success_rate >= 0.8 AND device_id <> %s ORDER BY embedding <=> %s::vector LIMIT 20
"""
_TRENDS: Final = """
SELECT genre, count(*), avg(success_rate) FROM patterns
WHERE updated_at > now() - interval '7 days' GROUP BY genre ORDER BY count(*) DESC LIMIT 50
"""


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """What the connections measured."""

    syncs_per_second: float
    inserts_per_second: float
    """Rate of the first of the four statements alone."""
    similar: float
    """Similar patterns in an answer, on average."""


def prepare(url: str, patterns: int) -> None:
    """Create and fill the table, with ten patterns for each device, and build the index."""
    codes = sample_patterns(patterns, seed=3)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(_SCHEMA)
        rows = [_make_row(codes[row], _make_device_id(row // 10), row) for row in range(patterns)]
        connection.cursor().executemany(_INSERT, rows)
        connection.execute("SET LOCAL maintenance_work_mem = '512MB'")
        connection.execute(_INDEX)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE patterns")


def measure(url: str, seconds: float) -> ReferenceResult:
    """Run whole syncs on all connections for some seconds, then inserts alone for as long."""
    syncs, similar = _count_syncs(url, seconds, is_whole_sync=True)
    inserts, _ = _count_syncs(url, seconds, is_whole_sync=False)
    return ReferenceResult(syncs / seconds, inserts / seconds, similar)


def _count_syncs(url: str, seconds: float, *, is_whole_sync: bool) -> tuple[int, float]:
    counts: list[int] = []
    similar_counts: list[int] = []

    def run_connection(number: int) -> None:
        codes = sample_patterns(4096, seed=100 + number)
        with psycopg.connect(url, autocommit=True) as connection:
            ready.wait()
            end, count = time.perf_counter() + seconds, 0
            while time.perf_counter() < end:
                row = _make_row(codes[count % len(codes)], uuid.uuid4(), count)
                connection.execute(_INSERT, row)
                if is_whole_sync:
                    similar_counts.append(_run_queries(connection, row[0]))
                count += 1
            counts.append(count)

    ready = threading.Barrier(CONNECTIONS)
    threads = [
        threading.Thread(target=run_connection, args=(number,)) for number in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts), float(np.mean(similar_counts)) if similar_counts else 0.0


def _run_queries(connection: psycopg.Connection, device_id: uuid.UUID) -> int:
    average = connection.execute(_AVERAGE, (device_id,)).fetchone()
    assert average is not None
    similar = connection.execute(_SIMILAR, (device_id, average[0])).fetchall()
    connection.execute(_TRENDS).fetchall()
    return len(similar)


def _make_row(
    codes: Codes, device_id: uuid.UUID, number: int
) -> tuple[uuid.UUID, uuid.UUID, str, float, int, str]:
    (embedding,) = normalise_codes(codes[None, :])
    rate = 0.9 if number % 10 < 7 else 0.75
    text = str(embedding.tolist())
    return device_id, uuid.uuid4(), text, rate, 3, _GENRES[number % len(_GENRES)]


def _make_device_id(number: int) -> uuid.UUID:
    return uuid.UUID(int=number + 1)
