"""Rows of a report for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.report import Row


def make_row(name: str, value: float = 5.0, **changes: Any) -> Row:
    """Return a row beside a baseline of 10, as a report has it."""
    return {
        "name": name,
        "value": value,
        "unit": "ms",
        "baseline": "bare",
        "baseline_value": 10.0,
        "ratio": value / 10.0,
        "better": "lower",
        "runs": 3,
        "spread": [0.4, 0.6],
        "cpu_us": {"server": 120.5},
        "case": "streams",
        "machine": "a machine",
        "versions": {"commit": "abc"},
        "date": "2026-11-28",
        **changes,
    }
