"""Shards to measure: `constellation serve` in its own process, on any store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.server_process import StartedServer
from constellation.config import ShardConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BUILD = Path("build")


@dataclass(frozen=True, slots=True)
class StartedShard:
    """A running shard, and the log event of its start."""

    process: subprocess.Popen[str]
    event: Mapping[str, Any]

    @property
    def port(self) -> int:
        return int(self.event["port"])

    @property
    def server(self) -> StartedServer:
        return StartedServer(self.process, self.port)


@contextmanager
def make_folder() -> Iterator[Path]:
    """Yield a temporary directory in build/, so that it is on the disk of the project."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="bench-") as name:
        yield Path(name)


@contextmanager
def start_shard(module: str = "constellation", /, **settings: object) -> Iterator[StartedShard]:
    """Run a shard with these settings and no others during the block."""
    setting_names = {setting.name.upper() for setting in fields(ShardConfig)}
    inherited = {name: value for name, value in os.environ.items() if name not in setting_names}
    local = "127.0.0.1:0"
    overrides = {
        "grpc_addr": local,
        "rest_addr": local,
        "metrics_addr": local,
        "drain_seconds": 0,
        "insecure": 1,
        "min_device_age_days": 0,
        "patterns_per_week": 65_535,  # a device brings more in a minute here than in a year
        "max_streams_per_connection": 65_536,  # a generator has few connections for many devices
        **settings,
    }
    with subprocess.Popen(
        [sys.executable, "-m", module, "serve"],
        env={**inherited, **{name.upper(): str(value) for name, value in overrides.items()}},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield StartedShard(process, _wait_until_started(process))
        finally:
            process.terminate()
            process.communicate()


def _wait_until_started(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if '"shard_started"' in line:
            event: Mapping[str, Any] = json.loads(line)
            return event
    raise RuntimeError(f"the shard ended before it served: {''.join(lines)}")
