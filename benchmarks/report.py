"""Results of benchmarks, each beside a baseline that was measured in the same run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT = Path("build/bench-report.json")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the report. Machines are noisy, so the ratio is what counts."""

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    """In the same unit."""
    ratio: float
    """`value` divided by `baseline_value`, unless the benchmark says otherwise."""


def compare(
    name: str, value: float, unit: str, baseline: str, baseline_value: float
) -> Measurement:
    """Return a measurement beside its baseline, with the ratio of the two."""
    return Measurement(name, value, unit, baseline, baseline_value, value / baseline_value)


def write_report(measurements: Sequence[Measurement], file: Path = REPORT) -> None:
    """Write the report. Results of earlier runs stay unless they were measured again."""
    file.parent.mkdir(exist_ok=True)
    before = json.loads(file.read_text()) if file.exists() else []
    names = {line.name for line in measurements}
    kept = [line for line in before if line["name"] not in names]
    lines = [*kept, *(asdict(line) for line in measurements)]
    file.write_text(json.dumps(lines, indent=2) + "\n")


def format_table(measurements: Sequence[Measurement]) -> str:
    """Return the measurements as a table for people."""
    lines = [
        f"{line.name:26} {line.value:10,.3f} {line.unit:8} {line.ratio:7.2f} x   "
        f"{line.baseline} ({line.baseline_value:,.3f})"
        for line in measurements
    ]
    return "\n".join([f"{'what':26} {'value':>10} {'unit':8} {'ratio':>7}     baseline", *lines])
