"""Runs of the load of deltas, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.delta_load import DeltaLoadResult
from benchmarks.turns import Run, compare_runs, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.report import Measurement
    from benchmarks.server_process import StartedServer

_DEVICES: Final = 1024
_DELTAS: Final = 30
SETTINGS: Final[dict[str, int]] = {"max_patterns_per_device": _DELTAS}


def compare_syncs(
    name: str,
    baseline: str,
    turns: int,
    sides: tuple[Callable[[], DeltaLoadResult], Callable[[], DeltaLoadResult]],
) -> Measurement:
    """Measure two sides in turns, and compare their durable syncs per second."""
    ours, theirs = sides
    results = take_turns({"baseline": theirs, "ours": ours}, turns)
    return compare_runs(
        name,
        "syncs/s",
        [to_run(result) for result in results["ours"]],
        baseline,
        [to_run(result) for result in results["baseline"]],
    )


def to_run(result: DeltaLoadResult) -> Run:
    """Return the rate of a load, with the processor time of both processes."""
    return Run(
        result.syncs_per_second, {"server": result.server_cpu_us, "load": result.load_cpu_us}
    )


def run_delta_load(
    server: StartedServer,
    security: Path | None = None,
    *,
    with_signals: bool = False,
    devices: int = _DEVICES,
    deltas: int = _DELTAS,
) -> DeltaLoadResult:
    """Run `benchmarks.delta_load` in its own process against a server.

    Each of the devices sends `deltas` deltas. `security` is a folder with the authority and the
    keys of a server that asks for tokens.
    """
    folder = [str(security)] if security else []
    flags = ["--signals"] if with_signals else []
    numbers = map(str, (server.port, server.process.pid, devices, deltas))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.delta_load", *flags, *numbers, *folder],
        check=True,
        capture_output=True,
        text=True,
    )
    return DeltaLoadResult(**json.loads(done.stdout))
