"""Time from the start of a process on a million stored patterns to its first answer to a search.

The patterns name no content items, so none are merged into shared patterns: the index stays empty.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import grpc

from benchmarks.filled_store import fill_store, open_filled_postgres
from benchmarks.report import Measurement, compare
from benchmarks.shard_process import make_folder, start_shard
from constellation.encoding import normalise_codes
from constellation.storage.sqlite.store import open_sqlite
from constellation.v1 import patterns_pb2, shard_pb2, shard_pb2_grpc
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.encoding import Codes
    from testing.postgres_server import PostgresServer

_PATTERNS: Final = 1_000_000
_PATTERNS_PER_DEVICE: Final = 8
_STARTS: Final = 3


def measure(server: PostgresServer) -> list[Measurement]:
    """Start on each store once without an index snapshot, then with the one that this wrote."""
    codes = sample_patterns(_PATTERNS)
    with make_folder() as sqlite, make_folder() as cache:
        url = server.create_database("restart")
        asyncio.run(_fill_stores(codes, sqlite, url))
        measurements = [
            _measure_restarts("restart_1m_seconds_sqlite", codes, data_dir=sqlite),
            _measure_restarts(
                "restart_1m_seconds_postgres", codes, data_dir=cache, postgres_url=url
            ),
        ]
        server.drop_database("restart")
    return measurements


async def _fill_stores(codes: Codes, data_dir: Path, url: str) -> None:
    async with open_sqlite(data_dir) as store:
        await fill_store(store, codes, per_device=_PATTERNS_PER_DEVICE)
    async with open_filled_postgres(url, codes, per_device=_PATTERNS_PER_DEVICE):
        pass


def _measure_restarts(name: str, codes: Codes, **settings: object) -> Measurement:
    first, *later = [_measure_seconds_to_search(codes, **settings) for _ in range(1 + _STARTS)]
    seconds = statistics.median(later)
    return compare(name, seconds, "s", "without a snapshot", first)


def _measure_seconds_to_search(codes: Codes, **settings: object) -> float:
    started = time.perf_counter()
    with start_shard(**settings) as serving:
        _search(serving.port, codes)
        return time.perf_counter() - started


def _search(port: int, codes: Codes) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = shard_pb2_grpc.ShardServiceStub(channel)
        stub.SearchPatterns(
            shard_pb2.SearchPatternsRequest(
                embeddings=normalise_codes(codes[:1]).tobytes(),
                encoding=patterns_pb2.ENCODING_FLOAT32,
                limit=100,
            )
        )
