"""Results of benchmarks, each beside a baseline that was measured in the same run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.machine import describe_machine, list_versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPORT = Path("build/bench-report.json")

Better = Literal["higher", "lower"]
Row = dict[str, Any]
"""One row of a report as JSON: a Measurement, its case, the machine, the versions and the date."""


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
    better: Better = "higher"
    """Which ratio is better."""
    runs: int = 1
    spread: tuple[float, float] | None = None
    """The lowest and the highest ratio of the runs; None after one run."""
    cpu_us: Mapping[str, float] = field(default_factory=dict)
    """Microseconds of processor time that one operation takes, by process."""


def compare(
    name: str,
    value: float,
    unit: str,
    baseline: str,
    baseline_value: float,
    better: Better | None = None,
) -> Measurement:
    """Return a measurement beside its baseline, with the ratio of the two.

    Unless `better` says otherwise, higher is better for rates, and lower for everything else.
    """
    return Measurement(
        name,
        value,
        unit,
        baseline,
        baseline_value,
        value / baseline_value,
        better or find_better(unit),
    )


def find_better(unit: str) -> Better:
    """Return which value of a unit is better: a higher one of a rate, a lower one of the rest."""
    return "higher" if unit.endswith(("/s", "/CPU s")) else "lower"


def write_report(
    measurements: Sequence[Measurement], file: Path = REPORT, *, case: str = ""
) -> None:
    """Write the report. Results of earlier runs stay unless they were measured again.

    All earlier rows of a case that is named go, so that none stays that it measures no more.
    """
    file.parent.mkdir(exist_ok=True)
    facts = {
        "case": case,
        "machine": describe_machine(),
        "versions": list_versions(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    names = {line.name for line in measurements}
    kept = [
        row
        for row in read_report(file)
        if row["name"] not in names and not (case and row.get("case") == case)
    ]
    rows = [*kept, *({**asdict(line), **facts} for line in measurements)]
    file.write_text(json.dumps(rows, indent=1) + "\n")


def read_report(file: Path = REPORT) -> list[Row]:
    """Return the rows of a report; none when there is no such file."""
    rows: list[Row] = json.loads(file.read_text()) if file.exists() else []
    return rows


def format_table(measurements: Sequence[Measurement]) -> str:
    """Return the measurements as a table for people."""
    head = f"{'what':34} {'value':>10} {'unit':10} {'ratio':>7}  {'from to':>13}  baseline"
    return "\n".join([head, *map(_format_line, measurements)])


def _format_line(line: Measurement) -> str:
    spread = f"{line.spread[0]:6.2f} {line.spread[1]:6.2f}" if line.spread else ""
    cpu = ", ".join(f"{name} {us:,.0f}" for name, us in line.cpu_us.items())
    return (
        f"{line.name:34} {line.value:10,.3f} {line.unit:10} {line.ratio:7.2f}  {spread:>13}  "
        f"{line.baseline} ({line.baseline_value:,.3f})" + (f"; CPU us: {cpu}" if cpu else "")
    )
