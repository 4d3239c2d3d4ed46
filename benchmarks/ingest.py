"""Durable syncs per second over real gRPC, compared with a bare grpcio echo of the same bytes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.delta_load import DeltaLoadResult
from benchmarks.report import Measurement, compare
from benchmarks.shard_process import make_folder, start_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from testing.postgres_server import PostgresServer

_DEVICES: Final = 1024
_DELTAS: Final = 30
_ROUNDS: Final = 3
SETTINGS: Final[dict[str, int]] = {"max_patterns_per_device": _DELTAS}


def measure(server: PostgresServer) -> list[Measurement]:
    """Measure all in turns, so that the load of the machine is the same; compare the medians."""
    bare, fast, sqlite, postgres = [], [], [], []
    for number in range(_ROUNDS):
        with _start_echo() as port:
            bare.append(run_delta_load(port))
        with _start_echo("uvloop") as port:
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


def compare_syncs(
    name: str, baseline: str, rounds: int, sides: tuple[Callable[[], float], Callable[[], float]]
) -> Measurement:
    """Measure two sides in turns, the baseline first, and compare their medians.

    A side returns its durable syncs per second. Turns make the load of the machine the same.
    """
    ours, theirs = sides
    rates, baseline_rates = [], []
    for _ in range(rounds):
        baseline_rates.append(theirs())
        rates.append(ours())
    rate, baseline_rate = statistics.median(rates), statistics.median(baseline_rates)
    return compare(name, rate, "syncs/s", baseline, baseline_rate)


def run_delta_load(
    port: int, security: Path | None = None, *, with_signals: bool = False
) -> DeltaLoadResult:
    """Run `benchmarks.delta_load` in its own process against a server on this port.

    `security` is a folder with the authority and the keys of a server that asks for tokens.
    """
    folder = [str(security)] if security else []
    flags = ["--signals"] if with_signals else []
    arguments = [*flags, str(port), str(_DEVICES), str(_DELTAS), *folder]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.delta_load", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return DeltaLoadResult(**json.loads(done.stdout))


@contextmanager
def _start_echo(*arguments: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.echo", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()
