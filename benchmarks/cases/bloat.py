"""The effect of steady updates on PostgreSQL: size of the tables, and updates without an index."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import psycopg

from benchmarks.filled_store import PER_DEVICE, open_filled_postgres
from benchmarks.report import Measurement, compare
from constellation.core.rows import DEVICE, PATTERN
from constellation.core.store import CommitWrites

if TYPE_CHECKING:
    from constellation.storage.postgres.store import PostgresPatternStore
    from testing.postgres_server import PostgresServer

_PATTERNS: Final = 40_000
_COMMITS: Final = 480
_ROWS: Final = 250
"""Patterns and devices that each commit replaces. In total, every pattern three times."""
_VACUUM_COMMITS: Final = 8
"""Commits between two vacuums, about as often as autovacuum would run with its settings."""
_SIZE: Final = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = 'constellation'::regnamespace AND relname ~ %s"
)
_WAL: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
_HOT: Final = (
    "SELECT sum(n_tup_hot_upd)::float8 / sum(n_tup_upd) FROM pg_stat_user_tables WHERE relname ~ %s"
)


def measure(server: PostgresServer) -> list[Measurement]:
    """Fill a database, update every pattern three times, and compare the sizes."""
    url = server.create_database("bloat")
    before, after, hot, hot_devices, wal = asyncio.run(_measure_updates(url))
    server.drop_database("bloat")
    row = ("a row in memory", PATTERN.itemsize)
    return [
        compare("postgres_wal_bytes_per_delta", wal / (_COMMITS * _ROWS), "bytes", *row),
        compare("postgres_bytes_per_pattern", before / _PATTERNS, "bytes", *row),
        compare(
            "postgres_size_after_updates",
            after / 1e6,
            "MB",
            "before three rounds of updates",
            before / 1e6,
        ),
        compare("postgres_hot_pattern_updates", hot, "", "all updates", 1.0),
        compare("postgres_hot_device_updates", hot_devices, "", "all updates", 1.0),
    ]


async def _measure_updates(url: str) -> tuple[float, float, float, float, float]:
    """Return the size before and after, the shares of HOT updates of both tables, and the WAL."""
    async with open_filled_postgres(url, _PATTERNS) as store:
        await asyncio.to_thread(_vacuum, url)
        before = await asyncio.to_thread(_query_number, url, _SIZE, "^pattern_")
        wal = await asyncio.to_thread(_query_number, url, _WAL)
        await _run_updates(store, url)
    wal = await asyncio.to_thread(_query_number, url, _WAL) - wal
    after = await asyncio.to_thread(_query_number, url, _SIZE, "^pattern_")
    hot = await asyncio.to_thread(_query_number, url, _HOT, "^pattern_")
    hot_devices = await asyncio.to_thread(_query_number, url, _HOT, "^device_")
    return before, after, hot, hot_devices, wal


async def _run_updates(store: PostgresPatternStore, url: str) -> None:
    epoch, totals = await store.take_epoch(), await store.read_totals()
    random = np.random.default_rng(5)
    for commit in range(_COMMITS):
        totals = replace(totals, lsn=totals.lsn + 1)
        slots = random.choice(_PATTERNS, _ROWS, replace=False)
        devices = random.choice(_PATTERNS // PER_DEVICE, _ROWS, replace=False)
        rows, device_rows = np.zeros(_ROWS, PATTERN), np.zeros(_ROWS, DEVICE)
        rows["lsn"], device_rows["seq"] = totals.lsn, totals.lsn
        rows["codes"] = random.integers(-127, 127, rows["codes"].shape)
        writes = CommitWrites(
            totals, slots=slots, rows=rows, device_slots=devices, device_rows=device_rows
        )
        await store.commit(epoch, writes)
        if commit % _VACUUM_COMMITS == _VACUUM_COMMITS - 1:
            await asyncio.to_thread(_vacuum, url)


def _vacuum(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM constellation.pattern, constellation.device")


def _query_number(url: str, query: str, *parameters: str) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode(), parameters or None).fetchone()
    assert row is not None
    return float(row[0])
