"""Whole syncs in one call on SQLite: processor time at 20,000 and 1 M patterns, and the wait."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.filled_store import copy_filled_folder
from benchmarks.processes import measure_cpu, wait_until_idle
from benchmarks.server_process import start_server
from benchmarks.shard_process import start_shard
from benchmarks.sync_runs import SETTINGS, run_sync_load, to_run
from benchmarks.turns import Run, compare_runs, take_turns

if TYPE_CHECKING:
    from benchmarks.report import Measurement
    from benchmarks.server_process import StartedServer

_TURNS: Final = 3
_CALLS: Final = 6400


def measure() -> list[Measurement]:
    """Measure shards beside a bare server that sends back what it gets, in turns."""
    with start_server("echo", "uvloop") as echo:
        return [
            *_measure_shard("whole_sync", 20_000, echo, with_wait=True),
            *_measure_shard("whole_sync_1m", 1_000_000, echo, with_wait=False),
        ]


def _measure_shard(
    name: str, patterns: int, echo: StartedServer, *, with_wait: bool
) -> list[Measurement]:
    with (
        copy_filled_folder(patterns) as folder,
        start_shard(data_dir=folder, **SETTINGS) as started,
    ):
        shard = started.server
        wait_until_idle(shard.process.pid)  # the first epoch is no part of a sync
        run_sync_load(shard)  # the first syncs encode what later ones get
        sides = {"shard": lambda: _measure_cpu(shard), "echo": lambda: _measure_echo(echo)}
        runs = take_turns(sides, _TURNS)
        lines = [
            compare_runs(f"{name}_server_cpu_us", "us", runs["shard"], "a bare call", runs["echo"])
        ]
        return [*lines, _measure_wait(shard)] if with_wait else lines


def _measure_cpu(shard: StartedServer) -> Run:
    result = run_sync_load(shard)
    return to_run(result, result.server_cpu_us)


def _measure_wait(shard: StartedServer) -> Measurement:
    """Compare the wait for an answer at half of the highest rate with that at the highest rate."""
    full, half = [], []
    for _ in range(_TURNS):
        fastest = run_sync_load(shard)
        full.append(to_run(fastest, fastest.p99_ms))
        steady = run_sync_load(shard, fastest.syncs_per_second / 2)
        half.append(to_run(steady, steady.p99_ms))
    return compare_runs("sync_p99_ms_half_load", "ms", half, "at full load", full)


def _measure_echo(echo: StartedServer) -> Run:
    with measure_cpu(echo.process.pid) as clock:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.unary_load", str(echo.port), str(_CALLS)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    cpu_us = clock.seconds / _CALLS * 1e6
    return Run(cpu_us, {"server": cpu_us})
