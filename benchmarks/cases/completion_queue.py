"""Processor time of a message on grpcio's private completion queue, and on grpc.aio."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.delta_runs import SETTINGS, run_delta_load
from benchmarks.report import Measurement, compare
from benchmarks.shard_process import make_folder, start_shard

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROUNDS: Final = 3
_MESSAGES: Final = 1024 * 30
"""What one run of the load of deltas sends."""
_CALLS: Final = 12_800
_SERVERS: Final = {
    "grpc.aio on uvloop": ("benchmarks.echo", "uvloop"),
    "the queue on uvloop": ("benchmarks.queue_echo", "uvloop"),
    "the queue in a thread": ("benchmarks.queue_echo",),
}


def measure() -> list[Measurement]:
    """Measure three echoes and a shard in turns; compare medians of their processor time.

    The last line says how much faster a shard could be at most, if its messages cost what they
    cost on the queue, drained by the event loop on which a shard works.
    """
    stream, unary = defaultdict(list), defaultdict(list)
    shard = []
    for _ in range(_ROUNDS):
        for name, arguments in _SERVERS.items():
            with _start_server(*arguments) as (process, port):
                stream[name].append(_measure_stream(process, port))
                unary[name].append(_measure_unary(process, port))
        with make_folder() as data_dir, start_shard(data_dir=data_dir, **SETTINGS) as started:
            shard.append(_measure_stream(started.process.pid, started.port))
    base, on_loop, in_thread = (statistics.median(stream[name]) for name in _SERVERS)
    base_unary, unary_on_loop, unary_in_thread = (
        statistics.median(unary[name]) for name in _SERVERS
    )
    cost = statistics.median(shard)
    return [
        compare("queue_message_us", on_loop, "us", "grpc.aio on uvloop", base),
        compare("queue_thread_message_us", in_thread, "us", "grpc.aio on uvloop", base),
        compare("queue_unary_us", unary_on_loop, "us", "grpc.aio on uvloop", base_unary),
        compare("queue_thread_unary_us", unary_in_thread, "us", "grpc.aio on uvloop", base_unary),
        compare(
            "queue_ingest_us_at_best", cost - (base - on_loop), "us", "a shard's delta today", cost
        ),
    ]


def _measure_stream(process: int, port: int) -> float:
    before = _read_cpu_seconds(process)
    run_delta_load(port)
    return (_read_cpu_seconds(process) - before) / _MESSAGES * 1e6


def _measure_unary(process: int, port: int) -> float:
    before = _read_cpu_seconds(process)
    subprocess.run(
        [sys.executable, "-m", "benchmarks.unary_load", str(port), str(_CALLS)],
        check=True,
        capture_output=True,
    )
    return (_read_cpu_seconds(process) - before) / _CALLS * 1e6


def _read_cpu_seconds(process: int) -> float:
    """Return the processor time of a process, in user and kernel mode, from /proc."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _start_server(module: str, *arguments: str) -> Iterator[tuple[int, int]]:
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.terminate()
