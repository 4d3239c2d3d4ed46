"""How the cost of a sync, a delta and a search grows with the patterns that a shard stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from benchmarks.delta_runs import run_delta_load
from benchmarks.exponents import measure_exponent
from benchmarks.filled_store import copy_filled_folder
from benchmarks.processes import measure_cpu
from benchmarks.report import compare
from benchmarks.shard_process import start_shard
from benchmarks.sync_runs import SETTINGS, run_sync_load
from constellation.encoding import normalise_codes
from constellation.v1 import patterns_pb2, shard_pb2, shard_pb2_grpc
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.report import Measurement
    from benchmarks.server_process import StartedServer

SIZES: Final = {"10k": 10_000, "100k": 100_000, "1m": 1_000_000}
_DELTAS: Final = 8
_SEARCHES: Final = 256
_UNITS: Final = {"sync_us": "us", "delta_us": "us", "search_us": "us", "answer_bytes": "bytes"}


def measure() -> list[Measurement]:
    """Measure a shard on SQLite with each number of patterns, and the exponent of the growth."""
    costs = {name: _measure_size(size) for name, size in SIZES.items()}
    lines = []
    for figure, unit in _UNITS.items():
        values = [cost[figure] for cost in costs.values()]
        lines += [
            compare(f"growth_{figure}_{name}", value, unit, "with 10,000 patterns", values[0])
            for name, value in zip(SIZES, values, strict=True)
        ]
        lines.append(measure_exponent(f"growth_{figure}", list(SIZES.values()), values))
    return lines


def _measure_size(size: int) -> Mapping[str, float]:
    with copy_filled_folder(size) as folder, start_shard(data_dir=folder, **SETTINGS) as started:
        run_sync_load(started.server)  # the first syncs encode what later ones get
        sync = run_sync_load(started.server)
        delta = run_delta_load(started.server, deltas=_DELTAS)
        search_us = _measure_search(started.server)
    return {
        "sync_us": sync.server_cpu_us,
        "answer_bytes": sync.answer_bytes,
        "delta_us": delta.server_cpu_us,
        "search_us": search_us,
    }


def _measure_search(server: StartedServer) -> float:
    """Return the microseconds of a search over gRPC, one after the other."""
    queries = normalise_codes(sample_patterns(_SEARCHES, seed=11))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        shard: Any = shard_pb2_grpc.ShardServiceStub(channel)
        with measure_cpu(server.process.pid) as searching:
            for query in queries:
                shard.SearchPatterns(
                    shard_pb2.SearchPatternsRequest(
                        embeddings=query.tobytes(),
                        encoding=patterns_pb2.ENCODING_FLOAT32,
                        limit=100,
                    )
                )
    return searching.seconds / _SEARCHES * 1e6
