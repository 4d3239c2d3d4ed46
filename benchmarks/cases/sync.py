"""Whole syncs on PostgreSQL, compared with the same work in plain SQL on the same server."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING, Final

from benchmarks import reference_sql
from benchmarks.delta_runs import run_delta_load
from benchmarks.filled_store import open_filled_postgres
from benchmarks.report import Measurement, compare
from benchmarks.shard_process import start_shard
from benchmarks.sync_runs import SETTINGS, run_sync_load

if TYPE_CHECKING:
    from testing.postgres_server import PostgresServer

_PATTERNS: Final = 20_000
_ROUNDS: Final = 3
_SQL_SECONDS: Final = 8.0


def measure(server: PostgresServer) -> list[Measurement]:
    """Measure both in turns, so that the load of the machine is the same; compare the medians."""
    peer_url, url = server.create_database("reference"), server.create_database("whole_sync")
    reference_sql.prepare(peer_url, _PATTERNS)
    asyncio.run(_fill_database(url))
    peers, syncs, deltas = [], [], []
    for _ in range(_ROUNDS):
        peers.append(reference_sql.measure(peer_url, _SQL_SECONDS))
        with start_shard(postgres_url=url, **SETTINGS) as started:
            syncs.append(run_sync_load(started.server))
            deltas.append(run_delta_load(started.server).syncs_per_second)
    peer = statistics.median(each.syncs_per_second for each in peers)
    inserts = statistics.median(each.inserts_per_second for each in peers)
    whole = statistics.median(each.syncs_per_second for each in syncs)
    delta = statistics.median(deltas)
    similar = round(statistics.mean(each.similar for each in syncs))
    baseline = f"the same in SQL, {round(peers[0].similar)} similar (ours: {similar})"
    return [
        compare("sync_vs_reference_sql", whole, "syncs/s", baseline, peer),
        compare("delta_vs_reference_sql", delta, "syncs/s", baseline, peer),
        compare("delta_vs_hnsw_insert", delta, "syncs/s", "its INSERT alone", inserts),
    ]


async def _fill_database(url: str) -> None:
    async with open_filled_postgres(url, _PATTERNS):
        pass
