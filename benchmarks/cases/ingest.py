"""Durable syncs per second over real gRPC, compared with a bare grpcio echo of the same bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.delta_runs import SETTINGS, run_delta_load, to_run
from benchmarks.server_process import start_server
from benchmarks.shard_process import make_folder, start_shard
from benchmarks.turns import Run, compare_runs, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.delta_load import DeltaLoadResult
    from benchmarks.report import Measurement
    from testing.postgres_server import PostgresServer

_TURNS: Final = 3


def measure(server: PostgresServer) -> list[Measurement]:
    """Measure a shard on each store beside the echo on each event loop, in turns."""
    sides: dict[str, Callable[[], DeltaLoadResult]] = {
        "echo": _measure_echo,
        "uvloop": partial(_measure_echo, "uvloop"),
        "sqlite": _measure_on_sqlite,
        "postgres": partial(_measure_on_postgres, server),
    }
    results = take_turns(sides, _TURNS)
    echo, uvloop, sqlite, postgres = (list(map(to_run, each)) for each in results.values())
    p99, echo_p99 = (
        [Run(result.p99_ms) for result in results[side]] for side in ("sqlite", "echo")
    )
    return [
        compare_runs("ingest_vs_echo", "syncs/s", sqlite, "bare grpcio echo", echo),
        compare_runs("ingest_vs_uvloop_echo", "syncs/s", sqlite, "the same on uvloop", uvloop),
        compare_runs("ingest_p99", "ms", p99, "bare grpcio echo", echo_p99),
        compare_runs(
            "ingest_postgres_vs_sqlite", "syncs/s", postgres, "the same on SQLite", sqlite
        ),
    ]


def _measure_echo(*arguments: str) -> DeltaLoadResult:
    with start_server("echo", *arguments) as echo:
        return run_delta_load(echo)


def _measure_on_sqlite() -> DeltaLoadResult:
    with make_folder() as data_dir, start_shard(data_dir=data_dir, **SETTINGS) as started:
        return run_delta_load(started.server)


def _measure_on_postgres(server: PostgresServer) -> DeltaLoadResult:
    url = server.create_database("ingest")
    try:
        with start_shard(postgres_url=url, migrate_on_start=1, **SETTINGS) as started:
            return run_delta_load(started.server)
    finally:
        server.drop_database("ingest")
