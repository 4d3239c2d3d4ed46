"""Printing: a round for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.printing import many, size
from constellation.cli.tables import Column, Table, number, prose, words
from constellation.v1 import federation_pb2 as pb
from constellation.v1 import patterns_pb2

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from rich.console import Console

    from constellation.v1 import aggregates_pb2

_TRENDS: Final = 10
_OUTCOMES: Final = {
    pb.SHARD_OUTCOME_HEARD: "[green]heard[/]",
    pb.SHARD_OUTCOME_AGED: "[yellow]away, aged[/]",
    pb.SHARD_OUTCOME_MISSING: "[red]missing[/]",
    pb.SHARD_OUTCOME_REFUSED: "[red]refused[/]",
}
_STATES: Final[dict[int, str]] = {
    pb.ROUND_STATE_PULLING: "not finished",
    pb.ROUND_STATE_PUBLISHING: "being published",
    pb.ROUND_STATE_PUBLISHED: "published",
    pb.ROUND_STATE_NO_QUORUM: "not published: too few shards were heard",
}
_ARROWS: Final = {
    patterns_pb2.TREND_DIRECTION_RISING: "rising",
    patterns_pb2.TREND_DIRECTION_PEAKING: "peaking",
    patterns_pb2.TREND_DIRECTION_FALLING: "falling",
}


def print_round(console: Console, told: pb.Round) -> None:
    """Print what became of a round."""
    closed = datetime.fromtimestamp(told.closed_at.ToNanoseconds() / 1e9, UTC)
    console.print(
        f"[bold]Round {told.round_id}[/], {closed:%Y-%m-%d %H:%M:%S} UTC: {state_word(told.state)}"
    )
    facts = Table([Column(""), prose("")])
    facts.add("  coverage", coverage_line(told))
    facts.add("  result", _result_line(told))
    facts.add(
        "  took",
        f"{seconds(told.pull_time):.2f} s to pull, {seconds(told.merge_time):.2f} s to merge, "
        f"{seconds(told.publish_time):.2f} s to publish",
    )
    facts.print(console)
    _shards(told).print(console)
    _strongest(told).print(console)


def _result_line(told: pb.Round) -> str:
    clusters, anchors = many(told.cluster_count, "cluster"), many(told.anchor_count, "anchor")
    return (
        f"{clusters} of {anchors} (codebook {told.codebook_version}), "
        f"{many(told.trend_count, 'trend')}, {size(told.result_bytes)}"
    )


def coverage_line(told: pb.Round) -> str:
    """Return whom a round speaks for, in words."""
    coverage = told.coverage
    aged = f", {coverage.shards_aged} more by an earlier aggregate" if coverage.shards_aged else ""
    return (
        f"{coverage.shards_heard} of {coverage.shards_known} shards heard{aged}; "
        f"{coverage.devices_heard:,} of {coverage.devices_known:,} devices "
        f"({coverage_share(coverage):.0%})"
    )


def coverage_share(coverage: aggregates_pb2.Coverage) -> float:
    """Return the share of the known devices that a round heard."""
    return coverage.devices_heard / coverage.devices_known if coverage.devices_known else 0.0


def state_word(state: int) -> str:
    """Return how far a round is, in words."""
    return _STATES.get(state, "unknown")


def seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9


def _shards(told: pb.Round) -> Table:
    table = Table(
        [
            number("  shard"),
            words("address"),
            Column("outcome"),
            number("devices"),
            number("pulled", is_spare=True),
            number("age", is_spare=True),
            words("published"),
        ]
    )
    for shard in told.shards:
        problem = shard.problem or shard.publish_problem
        table.add(
            ", ".join(str(version.shard_id) for version in shard.versions) or "?",
            escape(shard.address),
            _OUTCOMES.get(shard.outcome, "unknown"),
            f"{shard.devices:,}",
            f"{shard.pulled_bytes / 1e3:,.0f} kB, {seconds(shard.pull_time):.2f} s",
            f"{seconds(shard.age):.0f} s",
            ("yes" if shard.published else "[yellow]later[/]")
            + (f"  [dim]{escape(problem)}[/]" if problem else ""),
        )
    return table


def _strongest(told: pb.Round) -> Table:
    table = Table([number("  score"), words("trend"), Column(""), words("where")])
    for trend in told.trends[:_TRENDS]:
        table.add(
            f"{trend.score:.1f}",
            escape(f"genre {trend.genre}" if trend.genre else trend.content_id),
            _ARROWS.get(trend.direction, ""),
            escape(trend.region),
        )
    return table
