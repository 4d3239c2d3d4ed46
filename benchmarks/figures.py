"""The committed figures: what docs/performance.md shows, and what capacity is computed from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.report import read_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.report import Row

FILE: Final = Path(__file__).with_name("figures.json")
_DIGITS: Final = 4
"""Significant digits: more would be noise."""


def load_figures(file: Path = FILE) -> list[Row]:
    """Return the committed rows, sorted by case and name."""
    return read_report(file)


def commit_figures(rows: Sequence[Row], file: Path = FILE) -> None:
    """Replace the committed rows of the cases of these rows, and keep those of the others."""
    cases = {row["case"] for row in rows}
    kept = [row for row in load_figures(file) if row["case"] not in cases]
    ordered = sorted((*kept, *map(_round_all, rows)), key=lambda row: (row["case"], row["name"]))
    file.write_text(json.dumps(ordered, indent=1, sort_keys=True) + "\n")


def find_value(rows: Sequence[Row], name: str) -> float:
    """Return the value of a figure. Raises KeyError when no case has measured it."""
    found = [row["value"] for row in rows if row["name"] == name]
    if not found:
        raise KeyError(f"no figure {name}: run its case and `python -m benchmarks.publish`")
    return float(found[0])


def _round_all(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _round_all(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_round_all(each) for each in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
