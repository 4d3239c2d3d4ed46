"""Repetitions in turns: every side once, then every side again, so that all share the noise.

A machine that gets slower while a benchmark runs makes every side slower. The ratio of two sides
is therefore taken within each turn, and the median of these ratios is the result.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from benchmarks.report import Measurement, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.report import Better

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Run:
    """What one repetition of one side measured."""

    value: float
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    """Microseconds of processor time that one operation takes, by process."""


def take_turns(sides: Mapping[str, Callable[[], T]], turns: int) -> dict[str, list[T]]:
    """Run every side once in each turn; return what each returned, in the order of the turns.

    Every second turn runs backwards, so that no side always follows the same one.
    """
    results: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(turns):
        names = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for name in names:
            results[name].append(sides[name]())
    return results


def compare_runs(
    name: str,
    unit: str,
    ours: Sequence[Run],
    baseline: str,
    theirs: Sequence[Run],
    better: Better | None = None,
) -> Measurement:
    """Return the median of the runs of two sides, with the median of the ratios of their turns.

    `cpu_us` has both sides: that of the baseline with "baseline" before the name of the process.
    """
    ratios = [a.value / b.value for a, b in zip(ours, theirs, strict=True)]
    value, baseline_value = (
        statistics.median(run.value for run in side) for side in (ours, theirs)
    )
    return replace(
        compare(name, value, unit, baseline, baseline_value, better),
        ratio=statistics.median(ratios),
        runs=len(ratios),
        spread=(min(ratios), max(ratios)),
        cpu_us={
            **_find_median_cpu(ours, ""),
            **_find_median_cpu(theirs, "baseline "),
        },
    )


def _find_median_cpu(runs: Sequence[Run], prefix: str) -> dict[str, float]:
    return {
        prefix + process: statistics.median(run.cpu_us[process] for run in runs)
        for process in runs[0].cpu_us
    }
