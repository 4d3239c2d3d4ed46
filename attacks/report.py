"""What `make attack` writes: a table, build/attack-report.json, and a block of docs/privacy.md."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attacks.game import Score
from attacks.results import Goal, Line
from testing.page_blocks import write_block

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT: Final = Path("build/attack-report.json")
FIGURES: Final = Path(__file__).with_name("figures.json")
"""The committed figures: what docs/privacy.md shows."""
PAGE: Final = Path(__file__).parents[1] / "docs" / "privacy.md"
BLOCK: Final = "attacks"
COMMAND: Final = "make attack"
"""Writes the block of the page."""
_DIGITS: Final = 3


def format_table(lines: Sequence[Line]) -> str:
    """Return what each attack reached, as a table for people."""
    head = f"{'attack':28} {'measure':34} {'off':>18} {'on':>18} {'reach':>6}"
    return "\n".join([head, *(_format_line(each) for each in lines)])


def _format_line(line: Line) -> str:
    state = "" if line.is_held else "  NOT HELD"
    state += "" if line.is_proven else "  NOT PROVEN"
    return (
        f"{line.goal.name:28} {line.goal.measure:34} {_format_score(line.off):>18} "
        f"{_format_score(line.on):>18} {_format_reach(line.goal):>6}{state}"
    )


def _format_score(score: Score) -> str:
    half = max(score.high - score.value, score.value - score.low)
    return f"{score.value + 0.0:.3f} ± {half:.3f}"


def _format_reach(goal: Goal) -> str:
    return "none" if goal.reach is None else f"{goal.reach:.2f}"


def format_page(households: int, lines: Sequence[Line]) -> str:
    """Return the block of docs/privacy.md."""
    rows = [
        f"| {line.goal.attack} | {line.goal.measure} | {_format_score(line.off)} "
        f"| {_format_score(line.on)} | {_format_reach(line.goal)} |"
        for line in lines
    ]
    return "\n".join(
        [
            f"{households} households. ± is half of the interval of 95 %.",
            "",
            "| attack | measure | protection off | protection on | may reach |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def write_report(lines: Sequence[Line], file: Path = REPORT) -> None:
    """Write every figure for programs."""
    file.parent.mkdir(exist_ok=True)
    report = [
        {**asdict(line), "is_proven": line.is_proven, "is_held": line.is_held} for line in lines
    ]
    file.write_text(json.dumps(report, indent=1) + "\n")


def save_figures(households: int, lines: Sequence[Line], file: Path = FIGURES) -> None:
    """Replace the committed figures."""
    figures = {"households": households, "lines": [_round_all(asdict(each)) for each in lines]}
    file.write_text(json.dumps(figures, indent=1) + "\n")


def load_figures(file: Path = FIGURES) -> tuple[int, list[Line]]:
    """Return the households and the lines of the committed figures."""
    figures = json.loads(file.read_text())
    lines = [
        Line(Goal(**each["goal"]), Score(**each["off"]), Score(**each["on"]))
        for each in figures["lines"]
    ]
    return figures["households"], lines


def _round_all(line: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return {
        name: {
            key: round(value, _DIGITS) if isinstance(value, float) else value
            for key, value in part.items()
        }
        for name, part in line.items()
    }


def write_page(households: int, lines: Sequence[Line]) -> None:
    """Replace the block of docs/privacy.md."""
    write_block(PAGE, BLOCK, COMMAND, format_page(households, lines))
