"""Print a round for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.printing import format_size, pluralise, to_seconds
from constellation.cli.tables import (
    PrintedColumn,
    PrintedTable,
    number_column,
    prose_column,
    text_column,
)
from constellation.cli.trend_labels import format_direction
from constellation.v1 import federation_pb2 as pb

if TYPE_CHECKING:
    from rich.console import Console

    from constellation.v1 import aggregates_pb2

NO_ROUNDS_MESSAGE: Final = "no rounds yet: run one with `federation round --run`"
_MAX_TRENDS: Final = 10
_OUTCOME_LABELS: Final = {
    pb.SHARD_OUTCOME_FRESH: "[green]fresh[/]",
    pb.SHARD_OUTCOME_STALE: "[yellow]stale[/]",
    pb.SHARD_OUTCOME_MISSING: "[red]missing[/]",
    pb.SHARD_OUTCOME_REJECTED: "[red]rejected[/]",
}
_STATE_LABELS: Final[dict[int, str]] = {
    pb.ROUND_STATE_PULLING: "pulling",
    pb.ROUND_STATE_PUBLISHING: "publishing",
    pb.ROUND_STATE_PUBLISHED: "published",
    pb.ROUND_STATE_NO_QUORUM: "not published: no quorum",
}


def print_round(console: Console, report: pb.Round) -> None:
    """Print a round: its coverage, its result, its shards and its strongest trends."""
    closed = datetime.fromtimestamp(to_seconds(report.closed_at), UTC)
    console.print(
        f"[bold]Round {report.round_id}[/], {closed:%Y-%m-%d %H:%M:%S} UTC: "
        f"{format_state(report.state)}"
    )
    table = PrintedTable([PrintedColumn(""), prose_column("")])
    table.add_row("  coverage", format_coverage(report))
    table.add_row("  result", _format_result(report))
    table.add_row(
        "  duration",
        f"pull {to_seconds(report.pull_time):.2f} s, merge {to_seconds(report.merge_time):.2f} s, "
        f"publish {to_seconds(report.publish_time):.2f} s",
    )
    table.print(console)
    _make_shard_table(report).print(console)
    _make_trend_table(report).print(console)


def _format_result(report: pb.Round) -> str:
    clusters, anchors = (
        pluralise(report.cluster_count, "cluster"),
        pluralise(report.anchor_count, "anchor"),
    )
    return (
        f"{clusters} of {anchors} (codebook {report.codebook_version}), "
        f"{pluralise(report.trend_count, 'trend')}, {format_size(report.result_bytes)}"
    )


def format_coverage(report: pb.Round) -> str:
    """Return how many shards gave a fresh or a stale aggregate, and the devices of fresh ones."""
    coverage = report.coverage
    stale = f", {coverage.shards_stale} stale" if coverage.shards_stale else ""
    return (
        f"{coverage.shards_fresh} of {coverage.shards_total} shards fresh{stale}; "
        f"{coverage.devices_fresh:,} of {coverage.devices_total:,} devices "
        f"({compute_coverage(coverage):.0%})"
    )


def compute_coverage(coverage: aggregates_pb2.Coverage) -> float:
    """Return the share of the known devices whose shard gave a fresh aggregate, from 0 to 1."""
    return coverage.devices_fresh / coverage.devices_total if coverage.devices_total else 0.0


def format_state(state: int) -> str:
    """Return the state of a round in words."""
    return _STATE_LABELS.get(state, "unknown")


def _make_shard_table(report: pb.Round) -> PrintedTable:
    table = PrintedTable(
        [
            number_column("  shard"),
            text_column("address"),
            PrintedColumn("outcome"),
            number_column("devices"),
            number_column("pulled", is_optional=True),
            number_column("age", is_optional=True),
            text_column("published"),
        ]
    )
    for shard in report.shards:
        problem = shard.problem or shard.publish_problem
        table.add_row(
            ", ".join(str(version.shard_id) for version in shard.versions) or "?",
            escape(shard.address),
            _OUTCOME_LABELS.get(shard.outcome, "unknown"),
            f"{shard.devices:,}",
            f"{shard.pulled_bytes / 1e3:,.0f} kB, {to_seconds(shard.pull_time):.2f} s",
            f"{to_seconds(shard.age):.0f} s",
            ("yes" if shard.published else "[yellow]pending[/]")
            + (f"  [dim]{escape(problem)}[/]" if problem else ""),
        )
    return table


def _make_trend_table(report: pb.Round) -> PrintedTable:
    table = PrintedTable(
        [
            number_column("  score"),
            text_column("trend"),
            PrintedColumn("direction"),
            text_column("region"),
        ]
    )
    for trend in report.trends[:_MAX_TRENDS]:
        table.add_row(
            f"{trend.score:.1f}",
            escape(f"genre {trend.genre}" if trend.genre else trend.content_id),
            format_direction(trend),
            escape(trend.region),
        )
    return table
