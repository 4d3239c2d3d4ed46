"""Runs of the load of whole syncs, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.sync_load import SyncLoadResult
from benchmarks.turns import Run

if TYPE_CHECKING:
    from benchmarks.server_process import StartedServer

DEVICES: Final = 512
SYNCS: Final = 5
SETTINGS: Final[dict[str, int]] = {
    "max_patterns_per_device": 64,
    "max_patterns": 4_000_000,
    "shared_patterns_seconds": 86_400,
}
"""No epoch falls into a measurement: it costs as much however many devices sync."""


def run_sync_load(server: StartedServer, *rate: float) -> SyncLoadResult:
    """Run `benchmarks.sync_load` against a server, at a rate or as fast as it can."""
    numbers = map(str, (server.port, server.process.pid, DEVICES, SYNCS, *rate))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sync_load", *numbers],
        check=True,
        capture_output=True,
        text=True,
    )
    return SyncLoadResult(**json.loads(done.stdout))


def to_run(result: SyncLoadResult, value: float) -> Run:
    """Return one figure of a load, with the processor time of both processes."""
    return Run(value, {"server": result.server_cpu_us, "load": result.load_cpu_us})
