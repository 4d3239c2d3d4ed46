"""Durable syncs a second through real gRPC, against a bare grpcio echo of the same bytes."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.load import Result
from benchmarks.report import Measurement

_DEVICES: Final = 256
_DELTAS: Final = 100
_ROUNDS: Final = 3


def measure() -> list[Measurement]:
    """Alternate echo and shard, so that both meet the same machine; compare the medians."""
    echoes, shards = [], []
    for _ in range(_ROUNDS):
        with _echo() as port:
            echoes.append(_load(port))
        with _shard() as port:
            shards.append(_load(port))
    echo = statistics.median(result.syncs_per_second for result in echoes)
    shard = statistics.median(result.syncs_per_second for result in shards)
    echo_p99 = statistics.median(result.p99_ms for result in echoes)
    shard_p99 = statistics.median(result.p99_ms for result in shards)
    return [
        Measurement(
            "ingest_vs_echo", shard, "syncs/s", "bare grpcio echo, uvloop", echo, shard / echo
        ),
        Measurement(
            "ingest_p99", shard_p99, "ms", "bare grpcio echo, uvloop", echo_p99, shard_p99 / echo_p99
        ),
    ]


def _load(port: int) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", str(port), str(_DEVICES), str(_DELTAS)],
        check=True, capture_output=True, text=True,
    )
    return Result(**json.loads(done.stdout))


@contextmanager
def _echo() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.echo"], stdout=subprocess.PIPE, text=True
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
            "DATA_DIR": data_dir, "GRPC_ADDR": "127.0.0.1:0", "DRAIN_SECONDS": "0",
            "MAX_PATTERNS_PER_DEVICE": str(_DELTAS),
        }
        with subprocess.Popen(
            [sys.executable, "-m", "constellation", "serve"],
            env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True,
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
