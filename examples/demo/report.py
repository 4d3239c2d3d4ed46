"""What the demo found, as values: one JSON file for programs; `printer` shows it to people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from constellation.federated.trends import Direction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from constellation.federated.published import PublishedClusters
    from constellation.federated.trends import Trend
    from constellation_settop import Catalogue, Recommendation
    from examples.demo.comparison import Comparison
    from examples.demo.federation_process import RequestedRound
    from examples.demo.verify import VerificationResult

EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class RoundLine:
    """One round of the federation."""

    round_id: int
    activity: str
    published: bool
    shards_fresh: int
    shards_total: int
    devices_fresh: int
    anchors: int
    clusters: int
    trends: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ClusterLine:
    """One taste that boxes of both shards share."""

    genres: Sequence[str]
    devices: int
    success_rate: float
    titles: Sequence[str]
    """Films that its boxes' patterns name most."""


@dataclass(frozen=True, slots=True)
class TrendLine:
    """One film, or genre, that many boxes watch."""

    title: str
    is_genre: bool
    scope: str
    """A region, or everywhere."""
    direction: str
    score: float


@dataclass(frozen=True, slots=True)
class ChoiceLine:
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of it measured in this run."""

    devices: int
    devices_by_shard: Sequence[int]
    viewings: int
    deltas_acked: int
    deltas_lost: int
    deltas_applied_twice: int
    patterns_stored: int
    syncs_per_second: float
    """Acked deltas over the seconds of the replay, the time without a shard included."""
    ack_p50_ms: float
    ack_p99_ms: float
    """From a delta's frame to its ack, at the device, those after the kill included."""
    shard_latency_mean_ms: float
    """From a delta's arrival until it is on disk, in the last minute of the slower shard."""
    kills: int
    deltas_stored_unacked: int
    """What the killed shard had stored and not acked: sent or asked for again, applied once."""
    recovery_seconds: float
    """From SIGKILL to the first ack of the next process, without the round between."""
    shard_recovery_seconds: float
    """Reading the store back, as the next process measured it."""
    rounds: Sequence[RoundLine]
    clusters: Sequence[ClusterLine]
    """Of the last round, strongest first."""
    trends: Sequence[TrendLine]
    devices_with_last_clusters: int
    new_device: Sequence[ChoiceLine]
    """What a box recommends that never watched anything."""
    new_device_region: str
    new_device_seconds: float
    """From power on to its first recommendation."""
    households_judged: int
    hit_rate_before: float
    """Households with a held-out film among those recommended."""
    hit_rate_cold_start: float
    """The same for the new box's films, one list for all, without those a household has seen."""
    hit_rate_popular: float
    """Likewise for the films most households liked, which takes everybody's ratings to know."""
    hit_rate_after: float
    checks: Sequence[dict[str, str | bool]]
    seconds: float


def compute_hit_share(comparisons: Sequence[Comparison], hits: Iterable[int]) -> float:
    return round(sum(count > 0 for count in hits) / max(len(comparisons), 1), 4)


def to_round_lines(rounds: Sequence[RequestedRound]) -> list[RoundLine]:
    return [
        RoundLine(
            round_id=each.report.round_id,
            activity=each.activity,
            published=each.is_published,
            shards_fresh=each.report.coverage.shards_fresh,
            shards_total=each.report.coverage.shards_total,
            devices_fresh=each.report.coverage.devices_fresh,
            anchors=each.report.anchor_count,
            clusters=each.report.cluster_count,
            trends=each.report.trend_count,
            seconds=round(each.seconds, 3),
        )
        for each in rounds
    ]


def to_cluster_lines(catalogue: Catalogue, clusters: PublishedClusters) -> list[ClusterLine]:
    return [
        ClusterLine(
            genres=list(clusters.genres[row]),
            devices=int(clusters.devices[row]),
            success_rate=round(float(clusters.success_rates[row]), 3),
            titles=[find_title(catalogue, each) for each in clusters.content_ids[row]],
        )
        for row in range(len(clusters))
    ]


def to_trend_lines(catalogue: Catalogue, trends: Sequence[Trend]) -> list[TrendLine]:
    return [
        TrendLine(
            title=trend.genre or find_title(catalogue, trend.content_id),
            is_genre=bool(trend.genre),
            scope=EVERYWHERE if trend.is_global else trend.region,
            direction=Direction(trend.direction).name.lower(),
            score=round(trend.score, 2),
        )
        for trend in trends
    ]


def to_choice_lines(catalogue: Catalogue, choices: Sequence[Recommendation]) -> list[ChoiceLine]:
    return [ChoiceLine(find_title(catalogue, each.content_id), each.reason) for each in choices]


def to_check_lines(result: VerificationResult) -> list[dict[str, str | bool]]:
    return [asdict(check) for check in result.checks]


def write_report(report: Report, file: Path) -> None:
    file.write_text(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n")


def find_title(catalogue: Catalogue, content_id: str) -> str:
    row = catalogue.find_row(content_id)
    return catalogue.title(row) if row is not None else content_id
