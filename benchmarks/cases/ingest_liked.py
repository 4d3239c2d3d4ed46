"""Durable syncs per second of a shard that keeps what devices liked, and of one that does not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.delta_runs import SETTINGS, compare_syncs, run_delta_load
from benchmarks.shard_process import make_folder, start_shard

if TYPE_CHECKING:
    from benchmarks.delta_load import DeltaLoadResult
    from benchmarks.report import Measurement
    from testing.postgres_server import PostgresServer

_ROUNDS: Final = 5


def measure(server: PostgresServer) -> list[Measurement]:
    """Compare RELATED_SAMPLE 1 and 0, when every delta has a signal, on SQLite and PostgreSQL."""
    baseline = "the same with RELATED_SAMPLE=0"
    on_postgres = partial(_measure_on_postgres, server)
    return [
        compare_syncs(name, baseline, _ROUNDS, (partial(measure_, 1), partial(measure_, 0)))
        for name, measure_ in (
            ("ingest_liked_vs_without", _measure_on_sqlite),
            ("ingest_liked_vs_without_postgres", on_postgres),
        )
    ]


def _measure_on_sqlite(sample: int) -> DeltaLoadResult:
    with (
        make_folder() as data_dir,
        start_shard(data_dir=data_dir, related_sample=sample, **SETTINGS) as started,
    ):
        return run_delta_load(started.server, with_signals=True)


def _measure_on_postgres(server: PostgresServer, sample: int) -> DeltaLoadResult:
    url = server.create_database("ingest_liked")
    try:
        with start_shard(
            postgres_url=url, migrate_on_start=1, related_sample=sample, **SETTINGS
        ) as started:
            return run_delta_load(started.server, with_signals=True)
    finally:
        server.drop_database("ingest_liked")
