"""Time from the start of a process on a million stored patterns to its first answer to a search."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

import grpc

from benchmarks.filled_store import copy_filled_folder, open_filled_postgres
from benchmarks.report import Measurement, compare
from benchmarks.shard_process import make_folder, start_shard
from benchmarks.tastes import make_queries
from constellation.v1 import patterns_pb2, shard_pb2, shard_pb2_grpc

if TYPE_CHECKING:
    from testing.postgres_server import PostgresServer

_PATTERNS: Final = 1_000_000
_STARTS: Final = 3
_LIMIT: Final = 100
_TARGETS: Final = {"restart_1m_seconds_sqlite": 4.0, "restart_1m_seconds_postgres": 8.0}


def measure(server: PostgresServer) -> list[Measurement]:
    """Start on each store several times, after a first start that is not counted."""
    url = server.create_database("restart")
    asyncio.run(_fill_database(url))
    with copy_filled_folder(_PATTERNS) as sqlite, make_folder() as cache:
        measurements = [
            _measure_restarts("restart_1m_seconds_sqlite", data_dir=sqlite),
            _measure_restarts("restart_1m_seconds_postgres", data_dir=cache, postgres_url=url),
        ]
    server.drop_database("restart")
    return measurements


async def _fill_database(url: str) -> None:
    async with open_filled_postgres(url, _PATTERNS):
        pass


def _measure_restarts(name: str, **settings: object) -> Measurement:
    _, *seconds = [_measure_seconds_to_search(**settings) for _ in range(1 + _STARTS)]
    return compare(name, statistics.median(seconds), "s", "the target", _TARGETS[name])


def _measure_seconds_to_search(**settings: object) -> float:
    started = time.perf_counter()
    with start_shard(**settings) as serving:
        found = _search(serving.port)
        seconds = time.perf_counter() - started
    if found != _LIMIT:
        raise RuntimeError(f"the search must find {_LIMIT} shared patterns, found {found}")
    return seconds


def _search(port: int) -> int:
    """Search near a pattern; return how many shared patterns were found."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = shard_pb2_grpc.ShardServiceStub(channel)
        answer = stub.SearchPatterns(
            shard_pb2.SearchPatternsRequest(
                embeddings=make_queries(1).tobytes(),
                encoding=patterns_pb2.ENCODING_FLOAT32,
                limit=_LIMIT,
            )
        )
    return len(answer.similarities)
