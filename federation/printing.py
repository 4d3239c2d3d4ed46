"""Print a round for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.printing import format_age, format_size, pluralise, to_seconds
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
    taken = "" if is_taken(report) else ", but [red]no shard took it[/]"
    console.print(
        f"[bold]Round {report.round_id}[/], {closed:%Y-%m-%d %H:%M:%S} UTC: "
        f"{format_state(report.state)}{taken}"
    )
    table = PrintedTable([PrintedColumn(""), prose_column("")])
    as_of = f", {format_age(to_seconds(report.closed_at))}" if report.HasField("closed_at") else ""
    table.add_row("  coverage", format_coverage(report) + as_of)
    table.add_row("  result", _format_result(report))
    table.add_row("  related", _format_related(report))
    table.add_row(
        "  duration",
        f"pull {to_seconds(report.pull_time):.2f} s, merge {to_seconds(report.merge_time):.2f} s, "
        f"publish {to_seconds(report.publish_time):.2f} s",
    )
    table.print(console)
    _make_shard_table(report).print(console)
    for shard in report.shards:
        for each in shard.unavailable:
            console.print(f"  {escape(_describe_unavailable(each, shard.address))}")
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


def _format_related(report: pb.Round) -> str:
    """Return what a round published as related and popular content, and how it came about."""
    rows, lists = (
        pluralise(report.related_count, "row"),
        pluralise(report.popular_count, "popular list"),
    )
    published = f"{rows} for {pluralise(report.dictionary_size, 'content item')}, {lists}"
    if not report.HasField("solve_time"):
        return f"{published}, as before"
    return (
        f"{published}; {report.related_changed_count:,} changed, of "
        f"{pluralise(report.contributors, 'contributor')}, in {to_seconds(report.solve_time):.2f} s"
    )


def format_coverage(report: pb.Round) -> str:
    """Return how many shards gave a fresh or a stale aggregate, and the devices of fresh ones."""
    if not report.HasField("coverage"):
        return "of the federation above"
    coverage = report.coverage
    stale = f", {coverage.shards_stale} stale" if coverage.shards_stale else ""
    return (
        f"{coverage.shards_fresh} of {coverage.shards_total} shards fresh{stale}; "
        + format_devices(coverage)
    )


def format_devices(coverage: aggregates_pb2.Coverage) -> str:
    """Return how many of the known devices have a shard that gave a fresh aggregate."""
    if not coverage.devices_total:
        return "no devices known"
    share = coverage.devices_fresh / coverage.devices_total
    return f"{coverage.devices_fresh:,} of {coverage.devices_total:,} devices ({share:.0%})"


def is_taken(report: pb.Round) -> bool:
    """Return False for a published round whose global is on no shard."""
    if report.state != pb.ROUND_STATE_PUBLISHED or not report.shards:  # a relay lists none
        return True
    return any(shard.published for shard in report.shards)


def _describe_unavailable(shard: aggregates_pb2.UnavailableShard, relay_address: str) -> str:
    known = ", ".join(str(shard_id) for shard_id in shard.shard_ids)
    name = f"shard {known} at {shard.address}" if known else shard.address
    return f"{name}, behind {relay_address}, did not answer: {shard.problem}"


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
