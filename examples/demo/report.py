"""The results of the demo as values, and as a JSON file. `printer` shows them to people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from constellation.federated.trends import Direction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from constellation.federated.published import PublishedClusters
    from constellation.federated.trends import Trend
    from constellation_settop import Catalogue, Recommendation
    from examples.demo.federation_process import RequestedRound
    from examples.demo.verify import VerificationResult
    from quality.metrics import Quality

EVERYWHERE = "everywhere"
"""The scope of a global trend."""


@dataclass(frozen=True, slots=True)
class RoundLine:
    """One round of the federation."""

    round_id: int
    activity: str
    """What happened meanwhile."""
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
    """One taste that devices of both shards share."""

    genres: Sequence[str]
    devices: int
    success_rate: float
    titles: Sequence[str]
    """The films that patterns of the cluster name most."""


@dataclass(frozen=True, slots=True)
class TrendLine:
    """One film or genre that many devices watch."""

    title: str
    is_genre: bool
    scope: str
    """A region, or EVERYWHERE."""
    direction: str
    score: float


@dataclass(frozen=True, slots=True)
class ChoiceLine:
    """One film that was recommended."""

    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class QualityLine:
    """How well one recommender finds the films that households liked later."""

    name: str
    ndcg: float
    """NDCG of the first ten, from 0 to 1: more for a film that stands higher."""
    hit_rate: float
    """Share of households for which at least one of the first ten is such a film."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one run measured and checked."""

    devices: int
    devices_by_shard: Sequence[int]
    viewings: int
    deltas_acked: int
    deltas_lost: int
    deltas_applied_twice: int
    patterns_stored: int
    syncs_per_second: float
    """Acked deltas per second of the replay, the outage included."""
    sync_latency_mean_ms: float
    """Mean time from a delta's arrival until it is on disk, in the last minute, slower shard."""
    sync_latency_p99_ms: float
    """99th percentile of the same."""
    ack_p50_ms: float
    """Median time from a delta's frame to its ack, measured on devices, the outage included.

    All devices share one process with the replay, so this is longer than on a television.
    """
    kills: int
    deltas_stored_unacked: int
    """Deltas that the killed shard had stored and not acked."""
    recovery_seconds: float
    """From SIGKILL to the first ack of the next process, without the round in between."""
    shard_recovery_seconds: float
    """How long the next process read the store, as it measured."""
    rounds: Sequence[RoundLine]
    clusters: Sequence[ClusterLine]
    """Clusters of the last round, the strongest first."""
    trends: Sequence[TrendLine]
    devices_with_last_clusters: int
    new_device: Sequence[ChoiceLine]
    """What a new device recommends."""
    new_device_region: str
    new_device_seconds: float
    """From opening the new device to its first recommendation."""
    households_judged: int
    quality: Sequence[QualityLine]
    """How well the held-out films are recommended, the weakest first."""
    checks: Sequence[dict[str, str | bool]]
    seconds: float


def to_quality_lines(qualities: Mapping[str, Quality]) -> list[QualityLine]:
    """Return one line for each recommender, the weakest first."""
    lines = [
        QualityLine(name, round(each.ndcg, 4), round(each.hit_rate, 4))
        for name, each in qualities.items()
    ]
    return sorted(lines, key=lambda line: line.ndcg)


def to_round_lines(rounds: Sequence[RequestedRound]) -> list[RoundLine]:
    """Return one line for each round."""
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
    """Return one line for each cluster."""
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
    """Return one line for each trend."""
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
    """Return one line for each recommended film."""
    return [ChoiceLine(find_title(catalogue, each.content_id), each.reason) for each in choices]


def to_check_lines(result: VerificationResult) -> list[dict[str, str | bool]]:
    """Return one dict for each check: claim, passed, found."""
    return [asdict(check) for check in result.checks]


def write_report(report: Report, file: Path) -> None:
    """Write the report as JSON."""
    file.write_text(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n")


def find_title(catalogue: Catalogue, content_id: str) -> str:
    """Return the title of a film, or its id when the catalogue lacks it."""
    row = catalogue.find_row(content_id)
    return catalogue.title(row) if row is not None else content_id
