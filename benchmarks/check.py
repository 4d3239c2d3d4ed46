"""`make bench-check`: fail when a shard costs clearly more than the committed figures say.

A figure is the lowest ratio of a shard to a bare server over a few turns: see short_cases.py.
What is too high is measured again, so that a burst of work elsewhere on the machine passes. While
other programs keep the machine busy all the time, groups of deltas get smaller and each delta
dearer: then only memory is judged, and the check says so.
`--commit` renews the figures, when a change is meant to move them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.processes import read_busy_seconds, read_own_seconds
from benchmarks.short_cases import SHORT_CASES

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE: Final = Path(__file__).with_name("short_figures.json")
TOLERANCE: Final = 0.15
"""The share by which a figure may be higher than the committed one."""
_TRIES: Final = 3
_BUSY_CORES: Final = 0.3
"""Other programs that use more than this make processor times of a shard mean nothing."""
_ALWAYS_JUDGED: Final = ("stream_memory",)
_COMMIT_RUNS: Final = 3
"""Runs of which the highest figures are committed."""


def main() -> None:
    """Compare every short case with the committed figures, or renew them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=main.__doc__)
    parser.add_argument("--commit", action="store_true", help="renew the committed figures")
    started = time.monotonic()
    if parser.parse_args().commit:
        _commit()
        return
    committed: dict[str, float] = json.loads(FILE.read_text())
    before = read_busy_seconds(), read_own_seconds()
    failures = [name for case in SHORT_CASES for name in _check_case(case, committed)]
    seconds = time.monotonic() - started
    others = (read_busy_seconds() - before[0] - read_own_seconds() + before[1]) / seconds
    print(f"took {seconds:.0f} s, while other programs used {others:.2f} cores")
    if others > _BUSY_CORES and set(failures) - set(_ALWAYS_JUDGED):
        print(f"not judged, because the machine was busy: {', '.join(failures)}")
        failures = [name for name in failures if name in _ALWAYS_JUDGED]
    if failures:
        sys.exit(
            f"{', '.join(failures)}: more than {TOLERANCE:.0%} above benchmarks/{FILE.name} in "
            f"{_TRIES} tries. When that is meant, run `python -m benchmarks.check --commit` on a "
            "quiet machine and say why in the commit."
        )


def _check_case(case: str, committed: Mapping[str, float]) -> list[str]:
    """Measure a case until it is good enough, at most a few times; return what is too high."""
    best: dict[str, float] = {}
    too_high: list[str] = []
    for _ in range(_TRIES):
        measured = SHORT_CASES[case].measure()
        best = {name: min(ratio, best.get(name, ratio)) for name, ratio in measured.items()}
        too_high = find_too_high(best, committed)
        if not too_high:
            break
    for name, ratio in best.items():
        state = "  TOO HIGH" if name in too_high else ""
        print(f"{name:16} {ratio:6.2f}   committed {committed[name]:6.2f}{state}", flush=True)
    return too_high


def find_too_high(measured: Mapping[str, float], committed: Mapping[str, float]) -> list[str]:
    """Return the figures that are further above the committed ones than noise explains."""
    return [name for name, ratio in measured.items() if ratio > committed[name] * (1 + TOLERANCE)]


def _commit() -> None:
    runs = []
    for _ in range(_COMMIT_RUNS):
        cases = [case.measure() for case in SHORT_CASES.values()]
        runs.append({name: ratio for case in cases for name, ratio in case.items()})
        print(runs[-1], flush=True)
    highest = {name: round(max(run[name] for run in runs), 3) for name in runs[0]}
    FILE.write_text(json.dumps(highest, indent=1) + "\n")
    print(f"written to {FILE}")


if __name__ == "__main__":
    main()
