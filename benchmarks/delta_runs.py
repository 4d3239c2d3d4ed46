"""Runs of the load of deltas, and the bare server that others are compared with, as processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.delta_load import DeltaLoadResult
from benchmarks.report import Measurement, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DEVICES: Final = 1024
_DELTAS: Final = 30
SETTINGS: Final[dict[str, int]] = {"max_patterns_per_device": _DELTAS}


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
def start_echo(*arguments: str) -> Iterator[int]:
    """Run `benchmarks.echo` during the block; yield its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.echo", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()
