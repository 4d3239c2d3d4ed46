"""Printing: a round for people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.table import Table

from constellation.v1 import federation_pb2 as pb
from constellation.v1 import patterns_pb2

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from rich.console import Console

_TRENDS: Final = 10
_OUTCOMES: Final = {
    pb.SHARD_OUTCOME_HEARD: "[green]heard[/]",
    pb.SHARD_OUTCOME_AGED: "[yellow]away, aged[/]",
    pb.SHARD_OUTCOME_MISSING: "[red]missing[/]",
    pb.SHARD_OUTCOME_REFUSED: "[red]refused[/]",
}
_STATES: Final = {
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
        f"[bold]Round {told.round_id}[/], {closed:%Y-%m-%d %H:%M:%S} UTC: "
        f"{_STATES.get(told.state, 'unknown')}"
    )
    console.print(f"  coverage   {coverage_line(told)}")
    console.print(
        f"  result     {told.cluster_count} clusters of {told.anchor_count} anchors (codebook "
        f"{told.codebook_version}), {told.trend_count} trends, {told.result_bytes / 1e3:,.0f} kB"
    )
    console.print(
        f"  took       {_seconds(told.pull_time):.2f} s to pull, {_seconds(told.merge_time):.2f} s "
        f"to merge, {_seconds(told.publish_time):.2f} s to publish"
    )
    console.print(_shards(told))
    for trend in told.trends[:_TRENDS]:
        what = f"genre {trend.genre}" if trend.genre else trend.content_id
        console.print(
            f"  trend      {escape(what)}: {_ARROWS.get(trend.direction, '')}, "
            f"{escape(trend.region)}, score {trend.score:.1f}"
        )


def coverage_line(told: pb.Round) -> str:
    """Return whom a round speaks for, in words."""
    coverage = told.coverage
    share = coverage.devices_heard / coverage.devices_known if coverage.devices_known else 0.0
    aged = f", {coverage.shards_aged} more by an earlier aggregate" if coverage.shards_aged else ""
    return (
        f"{coverage.shards_heard} of {coverage.shards_known} shards heard{aged}; "
        f"{coverage.devices_heard:,} of {coverage.devices_known:,} devices ({share:.0%})"
    )


def _shards(told: pb.Round) -> Table:
    table = Table(box=None, pad_edge=True)
    for column in ("shard", "address", "outcome", "devices", "pulled", "age", "published"):
        right = column in {"devices", "pulled", "age"}
        table.add_column(column, justify="right" if right else "left")
    for shard in told.shards:
        problem = shard.problem or shard.publish_problem
        table.add_row(
            ", ".join(str(version.shard_id) for version in shard.versions) or "?",
            escape(shard.address),
            _OUTCOMES.get(shard.outcome, "unknown"),
            f"{shard.devices:,}",
            f"{shard.pulled_bytes / 1e3:,.0f} kB, {_seconds(shard.pull_time):.2f} s",
            f"{_seconds(shard.age):.0f} s",
            ("yes" if shard.published else "[yellow]later[/]")
            + (f"  [dim]{escape(problem)}[/]" if problem else ""),
        )
    return table


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
