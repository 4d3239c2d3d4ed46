"""Durable syncs per second over real gRPC, compared with a bare grpcio echo of the same bytes."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from benchmarks.delta_runs import SETTINGS, run_delta_load, start_echo
from benchmarks.report import Measurement, compare
from benchmarks.shard_process import make_folder, start_shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.delta_load import DeltaLoadResult
    from testing.postgres_server import PostgresServer

_ROUNDS: Final = 3


def measure(server: PostgresServer) -> list[Measurement]:
    """Measure all in turns, so that the load of the machine is the same; compare the medians."""
    bare, fast, sqlite, postgres = [], [], [], []
    for number in range(_ROUNDS):
        with start_echo() as port:
            bare.append(run_delta_load(port))
        with start_echo("uvloop") as port:
            fast.append(run_delta_load(port))
        with make_folder() as data_dir, start_shard(data_dir=data_dir, **SETTINGS) as started:
            sqlite.append(run_delta_load(started.port))
        url = server.create_database(f"ingest_{number}")
        with start_shard(postgres_url=url, migrate_on_start=1, **SETTINGS) as started:
            postgres.append(run_delta_load(started.port))
        server.drop_database(f"ingest_{number}")
    figures = [
        _compute_median(results, "syncs_per_second") for results in (bare, fast, sqlite, postgres)
    ]
    echo, fast_echo, rate, postgres_rate = figures
    p99, echo_p99 = _compute_median(sqlite, "p99_ms"), _compute_median(bare, "p99_ms")
    return [
        compare("ingest_vs_echo", rate, "syncs/s", "bare grpcio echo", echo),
        compare("ingest_vs_uvloop_echo", rate, "syncs/s", "the same on uvloop", fast_echo),
        compare("ingest_p99", p99, "ms", "bare grpcio echo", echo_p99),
        compare("ingest_postgres_vs_sqlite", postgres_rate, "syncs/s", "the same on SQLite", rate),
    ]


def _compute_median(results: Sequence[DeltaLoadResult], figure: str) -> float:
    figures: list[float] = [getattr(result, figure) for result in results]
    return statistics.median(figures)
