"""Processor time of a message on grpcio's private completion queue, and on grpc.aio."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.delta_runs import SETTINGS, run_delta_load
from benchmarks.processes import read_cpu_seconds
from benchmarks.server_process import StartedServer, start_server
from benchmarks.shard_process import make_folder, start_shard
from benchmarks.turns import Run, compare_runs, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.report import Measurement

_TURNS: Final = 3
_CALLS: Final = 12_800
_BASELINE: Final = "grpc.aio on uvloop"
_SERVERS: Final = {
    "aio": ("echo", "uvloop"),
    "loop": ("queue_echo", "uvloop"),
    "thread": ("queue_echo",),
}
"""How each echo is started: on grpc.aio, and on the queue with uvloop or in one thread."""


def measure() -> list[Measurement]:
    """Measure three echoes and a shard in turns; compare their processor time.

    The last line says what a delta would cost a shard at least, if its messages cost what they
    cost on the queue, drained by the event loop on which a shard works.
    """
    sides: dict[str, Callable[[], tuple[float, float]]] = {
        name: partial(_measure_echo, *arguments) for name, arguments in _SERVERS.items()
    }
    results = take_turns({**sides, "shard": _measure_shard}, _TURNS)
    stream = {name: [each[0] for each in runs] for name, runs in results.items()}
    unary = {name: [each[1] for each in runs] for name, runs in results.items()}
    at_best = [
        shard - (aio - loop)
        for shard, aio, loop in zip(stream["shard"], stream["aio"], stream["loop"], strict=True)
    ]
    return [
        _compare("queue_message_us", stream["loop"], _BASELINE, stream["aio"]),
        _compare("queue_thread_message_us", stream["thread"], _BASELINE, stream["aio"]),
        _compare("queue_unary_us", unary["loop"], _BASELINE, unary["aio"]),
        _compare("queue_thread_unary_us", unary["thread"], _BASELINE, unary["aio"]),
        _compare("queue_ingest_us_at_best", at_best, "a shard's delta today", stream["shard"]),
    ]


def _compare(
    name: str, ours: Sequence[float], baseline: str, theirs: Sequence[float]
) -> Measurement:
    return compare_runs(name, "us", [*map(Run, ours)], baseline, [*map(Run, theirs)])


def _measure_echo(*arguments: str) -> tuple[float, float]:
    with start_server(*arguments) as server:
        return run_delta_load(server).server_cpu_us, _measure_unary(server)


def _measure_shard() -> tuple[float, float]:
    """Measure a shard's deltas. It has no unary call that does nothing, so that is 0."""
    with make_folder() as data_dir, start_shard(data_dir=data_dir, **SETTINGS) as started:
        return run_delta_load(started.server).server_cpu_us, 0.0


def _measure_unary(server: StartedServer) -> float:
    before = read_cpu_seconds(server.process.pid)
    subprocess.run(
        [sys.executable, "-m", "benchmarks.unary_load", str(server.port), str(_CALLS)],
        check=True,
        capture_output=True,
    )
    return (read_cpu_seconds(server.process.pid) - before) / _CALLS * 1e6
