"""What the demo found, as values: one JSON file for programs; `printer` shows it to people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from constellation.federated.trends import Direction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from constellation.federated.published import Clusters
    from constellation.federated.trends import Trend
    from constellation_settop import Catalogue, Choice
    from examples.demo.comparison import Story
    from examples.demo.federation_process import Asked
    from examples.demo.verify import Verdict

EVERYWHERE = "everywhere"


@dataclass(frozen=True, slots=True)
class RoundLine:
    """One round of the federation."""

    round_id: int
    during: str
    published: bool
    shards_heard: int
    shards_known: int
    devices_heard: int
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
    new_box: Sequence[ChoiceLine]
    """What a box recommends that never watched anything."""
    new_box_region: str
    new_box_seconds: float
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


def share(stories: Sequence[Story], hits: Iterable[int]) -> float:
    return round(sum(count > 0 for count in hits) / max(len(stories), 1), 4)


def round_lines(asked: Sequence[Asked]) -> list[RoundLine]:
    return [
        RoundLine(
            round_id=each.told.round_id,
            during=each.during,
            published=each.published,
            shards_heard=each.told.coverage.shards_heard,
            shards_known=each.told.coverage.shards_known,
            devices_heard=each.told.coverage.devices_heard,
            anchors=each.told.anchor_count,
            clusters=each.told.cluster_count,
            trends=each.told.trend_count,
            seconds=round(each.seconds, 3),
        )
        for each in asked
    ]


def cluster_lines(catalogue: Catalogue, clusters: Clusters) -> list[ClusterLine]:
    return [
        ClusterLine(
            genres=list(clusters.genres[row]),
            devices=int(clusters.devices[row]),
            success_rate=round(float(clusters.success_rates[row]), 3),
            titles=[title_of(catalogue, each) for each in clusters.content_ids[row]],
        )
        for row in range(len(clusters))
    ]


def trend_lines(catalogue: Catalogue, trends: Sequence[Trend]) -> list[TrendLine]:
    return [
        TrendLine(
            title=trend.genre or title_of(catalogue, trend.content_id),
            is_genre=bool(trend.genre),
            scope=EVERYWHERE if trend.is_global else trend.region,
            direction=Direction(trend.direction).name.lower(),
            score=round(trend.score, 2),
        )
        for trend in trends
    ]


def choice_lines(catalogue: Catalogue, choices: Sequence[Choice]) -> list[ChoiceLine]:
    return [ChoiceLine(title_of(catalogue, each.content_id), each.reason) for each in choices]


def check_lines(verdict: Verdict) -> list[dict[str, str | bool]]:
    return [asdict(check) for check in verdict.checks]


def write(report: Report, file: Path) -> None:
    file.write_text(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n")


def title_of(catalogue: Catalogue, content_id: str) -> str:
    row = catalogue.row(content_id)
    return catalogue.title(row) if row is not None else content_id
