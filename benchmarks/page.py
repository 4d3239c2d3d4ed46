"""What docs/performance.md and docs/capacity.md show of the committed figures."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.reach import REACH, Reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.report import Row

PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
CAPACITY_PAGE: Final = PAGE.with_name("capacity.md")
COMMAND: Final = "python -m benchmarks.publish"
"""Writes the blocks of the pages."""
_CARRIED: Final = {
    "ingest_vs_echo": "durable deltas in a second, on SQLite, at full load",
    "ingest_postgres_vs_sqlite": "the same on PostgreSQL",
    "growth_delta_us_1m": "processor time of a delta, with a million patterns",
    "whole_sync_1m_server_cpu_us": "processor time of a whole sync, with a million patterns",
    "sync_p99_ms_half_load": "wait for a whole sync at half load, 99th percentile",
    "growth_search_us_1m": "processor time of a search, with a million patterns",
    "stream_memory_vs_bare": "memory of an open stream",
    "connects_per_second_vs_bare": "devices that connect in a second",
    "reconnect_vs_bare": "until 5,000 devices are back after a kill",
    "fanout_vs_bare": "until 10,000 open streams have a new global state",
    "restart_1m_seconds_sqlite": "start with a million patterns, on SQLite",
    "restart_1m_seconds_postgres": "start with a million patterns, on PostgreSQL",
    "federation_round_seconds": "a federation's round over 100 shards",
    "recommend_p99_17k": "a recommendation on the device, 99th percentile",
}
"""By name of a figure: what it means to somebody who buys machines."""
_LARGE: Final = 100
"""From here on, digits behind the point say nothing."""


def format_carried(rows: Sequence[Row]) -> str:
    """Return the table of what a shard and a federation carry."""
    by_name = {row["name"]: row for row in rows}
    lines = [
        f"| {text} | {_format_value(by_name[name])} | `make bench CASE={by_name[name]['case']}` |"
        for name, text in _CARRIED.items()
        if name in by_name
    ]
    return _format_table("what | measured | by", lines)


def format_reach(rows: Sequence[Row]) -> str:
    """Return the table of the figures that should reach something, measured or not."""
    by_name = {row["name"]: row for row in rows}
    lines = [_format_reached(name, reach, by_name.get(name)) for name, reach in REACH.items()]
    return _format_table("figure | value | beside | ratio | reach | met", lines)


def _format_reached(name: str, reach: Reach, row: Row | None) -> str:
    if row is None:
        return f"| `{name}` | not measured | | | {reach.describe('')} | |"
    return (
        f"| `{name}` | {_format_value(row)} | {_format_baseline(row)} | {_format_ratio(row)} "
        f"| {reach.describe(row['unit'])} | {'yes' if reach.is_met(row) else '**no**'} |"
    )


def format_all(rows: Sequence[Row]) -> str:
    """Return a table of all figures, with what measured them."""
    lines = []
    for case, group in groupby(rows, key=lambda row: row["case"]):
        for number, row in enumerate(group):
            lines.append(
                f"| {'' if number else f'`{case}`'} | `{row['name']}` | {_format_value(row)} "
                f"| {_format_baseline(row)} | {_format_ratio(row)} | {_format_cpu(row)} |"
            )
    head = "case | figure | value | beside | ratio | µs of processor for each"
    return "\n\n".join([_format_table(head, lines), _describe_runs(rows)])


def _describe_runs(rows: Sequence[Row]) -> str:
    """Return where and when the figures were measured."""
    runs = sorted({(row["date"], row["machine"], row["versions"]["commit"]) for row in rows})
    lines = [f"- {date}: {machine}, commit {commit}" for date, machine, commit in runs]
    return "\n".join(["Measured:", "", *lines])


def _format_value(row: Row) -> str:
    return f"{format_number(row['value'])} {row['unit']}".strip()


def _format_baseline(row: Row) -> str:
    return f"{row['baseline']}: {format_number(row['baseline_value'])} {row['unit']}".strip()


def _format_ratio(row: Row) -> str:
    if not row["spread"]:
        return f"{row['ratio']:.2f}"
    low, high = row["spread"]
    return f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"


def _format_cpu(row: Row) -> str:
    return ", ".join(f"{name} {format_number(us)}" for name, us in row["cpu_us"].items())


def format_number(value: float) -> str:
    """Return a number with about three significant digits, and none behind the point of a large."""
    return f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.3g}"


def fence(text: str) -> str:
    """Return the output of a program as a block of Markdown."""
    return f"```text\n{text}\n```"


def _format_table(head: str, lines: Iterable[str]) -> str:
    rule = "|".join("---" for _ in head.split("|"))
    return "\n".join([f"| {head} |", f"|{rule}|", *lines])
