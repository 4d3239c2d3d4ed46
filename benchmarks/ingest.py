"""Durable syncs a second through real gRPC, against a bare grpcio echo of the same bytes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.delta_load import Result
from benchmarks.report import Measurement
from benchmarks.shard_process import folder, shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from testing.postgres_server import PostgresServer

_DEVICES: Final = 1024
_DELTAS: Final = 30
_ROUNDS: Final = 3
SETTINGS: Final[dict[str, int]] = {"max_patterns_per_device": _DELTAS}


def measure(server: PostgresServer) -> list[Measurement]:
    """Take echoes and shards in turns, so that all meet the same machine; compare the medians."""
    bare, fast, sqlite, postgres = [], [], [], []
    for round_ in range(_ROUNDS):
        with _echo() as port:
            bare.append(load(port))
        with _echo("uvloop") as port:
            fast.append(load(port))
        with folder() as data_dir, shard(data_dir=data_dir, **SETTINGS) as started:
            sqlite.append(load(started.port))
        url = server.create(f"ingest_{round_}")
        with shard(postgres_url=url, migrate_on_start=1, **SETTINGS) as started:
            postgres.append(load(started.port))
        server.drop(f"ingest_{round_}")
    figures = [_median(results, "syncs_per_second") for results in (bare, fast, sqlite, postgres)]
    echo, fast_echo, rate, postgres_rate = figures
    p99, echo_p99 = _median(sqlite, "p99_ms"), _median(bare, "p99_ms")
    return [
        Measurement("ingest_vs_echo", rate, "syncs/s", "bare grpcio echo", echo, rate / echo),
        Measurement(
            "ingest_vs_uvloop_echo",
            rate,
            "syncs/s",
            "the same on uvloop",
            fast_echo,
            rate / fast_echo,
        ),
        Measurement("ingest_p99", p99, "ms", "bare grpcio echo", echo_p99, p99 / echo_p99),
        Measurement(
            "ingest_postgres_vs_sqlite",
            postgres_rate,
            "syncs/s",
            "the same on SQLite",
            rate,
            postgres_rate / rate,
        ),
    ]


def _median(results: Sequence[Result], figure: str) -> float:
    figures: list[float] = [getattr(result, figure) for result in results]
    return statistics.median(figures)


def load(port: int) -> Result:
    """Let devices push deltas as fast as a server answers."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.delta_load", str(port), str(_DEVICES), str(_DELTAS)],
        check=True,
        capture_output=True,
        text=True,
    )
    return Result(**json.loads(done.stdout))


@contextmanager
def _echo(*arguments: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.echo", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()
