"""Durable syncs a second through real gRPC, against a bare grpcio echo of the same bytes."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.load import Result
from benchmarks.report import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DEVICES: Final = 1024
_DELTAS: Final = 30
_ROUNDS: Final = 3


def measure() -> list[Measurement]:
    """Take echoes and shard in turns, so that all meet the same machine; compare the medians."""
    bare, fast, shard = [], [], []
    for _ in range(_ROUNDS):
        with _echo() as port:
            bare.append(_load(port))
        with _echo("uvloop") as port:
            fast.append(_load(port))
        with _shard() as port:
            shard.append(_load(port))
    rate = _median(shard, "syncs_per_second")
    p99 = _median(shard, "p99_ms")
    echo, fast_echo = _median(bare, "syncs_per_second"), _median(fast, "syncs_per_second")
    echo_p99 = _median(bare, "p99_ms")
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
    ]


def _median(results: Sequence[Result], figure: str) -> float:
    figures: list[float] = [getattr(result, figure) for result in results]
    return statistics.median(figures)


def _load(port: int) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", str(port), str(_DEVICES), str(_DELTAS)],
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


@contextmanager
def _shard() -> Iterator[int]:
    with tempfile.TemporaryDirectory(dir=".", prefix="build-bench-") as data_dir:
        settings = {
            "DATA_DIR": data_dir,
            "GRPC_ADDR": "127.0.0.1:0",
            "DRAIN_SECONDS": "0",
            "MAX_PATTERNS_PER_DEVICE": str(_DELTAS),
        }
        with subprocess.Popen(
            [sys.executable, "-m", "constellation", "serve"],
            env={**os.environ, **settings},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield _port_of(process)
            finally:
                process.terminate()


def _port_of(process: subprocess.Popen[str]) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        if match := re.search(r'"port": (\d+)', line):
            return int(match[1])
    raise RuntimeError("the shard ended before it served")
