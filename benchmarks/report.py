"""What a benchmark measured: always beside a baseline of the same run."""

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
    """One line of the report; machines are noisy, so read the ratio."""

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float
    ratio: float


def write_report(measurements: Sequence[Measurement]) -> None:
    """Write the report; of the one before stays what was not measured again."""
    REPORT.parent.mkdir(exist_ok=True)
    before = json.loads(REPORT.read_text()) if REPORT.exists() else []
    names = {line.name for line in measurements}
    kept = [line for line in before if line["name"] not in names]
    lines = [*kept, *(asdict(line) for line in measurements)]
    REPORT.write_text(json.dumps(lines, indent=2) + "\n")


def format_table(measurements: Sequence[Measurement]) -> str:
    """Return the report for people."""
    lines = [
        f"{line.name:26} {line.value:10,.3f} {line.unit:8} {line.ratio:7.2f} x   "
        f"{line.baseline} ({line.baseline_value:,.3f})"
        for line in measurements
    ]
    return "\n".join([f"{'what':26} {'value':>10} {'unit':8} {'ratio':>7}     baseline", *lines])
