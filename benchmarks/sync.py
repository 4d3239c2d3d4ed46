"""Whole syncs on PostgreSQL, against the same in SQL on the same server and patterns."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks import reference_sql
from benchmarks.filled_store import fill_store
from benchmarks.ingest import run_delta_load
from benchmarks.report import Measurement
from benchmarks.shard_process import start_shard
from benchmarks.sync_load import SyncLoadResult
from constellation.storage.postgres.migrations import migrate
from constellation.storage.postgres.pool import PostgresSettings
from constellation.storage.postgres.store import open_postgres
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from testing.postgres_server import PostgresServer

_PATTERNS: Final = 20_000
_DEVICES: Final = 512
_SYNCS: Final = 5
_ROUNDS: Final = 3
_SQL_SECONDS: Final = 8.0
_SETTINGS: Final[dict[str, int]] = {"max_patterns_per_device": 64}


def measure(server: PostgresServer) -> list[Measurement]:
    """Take both in turns, so that they meet the same machine; compare the medians."""
    peer_url, url = server.create_database("reference"), server.create_database("whole_sync")
    reference_sql.prepare(peer_url, _PATTERNS)
    asyncio.run(_fill_database(url))
    peers, syncs, deltas = [], [], []
    for _ in range(_ROUNDS):
        peers.append(reference_sql.measure(peer_url, _SQL_SECONDS))
        with start_shard(postgres_url=url, **_SETTINGS) as started:
            syncs.append(_run_sync_load(started.port))
            deltas.append(run_delta_load(started.port).syncs_per_second)
    peer = statistics.median(each.syncs_per_second for each in peers)
    inserts = statistics.median(each.inserts_per_second for each in peers)
    whole = statistics.median(each.syncs_per_second for each in syncs)
    delta = statistics.median(deltas)
    similar = round(statistics.mean(each.similar for each in syncs))
    baseline_name = f"the same in SQL, {round(peers[0].similar)} similar (ours: {similar})"
    return [
        Measurement("sync_vs_reference_sql", whole, "syncs/s", baseline_name, peer, whole / peer),
        Measurement("delta_vs_reference_sql", delta, "syncs/s", baseline_name, peer, delta / peer),
        Measurement(
            "delta_vs_hnsw_insert", delta, "syncs/s", "its INSERT alone", inserts, delta / inserts
        ),
    ]


async def _fill_database(url: str) -> None:
    settings = PostgresSettings(url=url, owner="benchmark")
    await migrate(url, settings.dialect)
    async with open_postgres(settings) as store:
        await fill_store(store, sample_patterns(_PATTERNS, seed=3), per_device=10)


def _run_sync_load(port: int) -> SyncLoadResult:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sync_load", str(port), str(_DEVICES), str(_SYNCS)],
        check=True,
        capture_output=True,
        text=True,
    )
    return SyncLoadResult(**json.loads(done.stdout))
