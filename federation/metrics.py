"""The metrics of a federation."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from constellation.telemetry.metrics import (
    HistogramMetric,
    Metric,
    MetricKind,
    make_histogram,
    make_reader,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.telemetry.metrics import Values
    from federation.rounds import Rounds, RoundStats
    from federation.shards.publisher import Publisher


def make_health_metric(is_ready: Callable[[], bool]) -> Metric:
    """Return whether a federation is the active one, and well: known from its start on."""
    text = "1 when the federation takes traffic, else 0."
    return Metric("constellation_federation_health", MetricKind.GAUGE, text, make_reader(is_ready))


def make_federation_histograms(rounds: Rounds) -> list[HistogramMetric]:
    """Return how long rounds took."""
    name, text = "constellation_federation_duration_seconds", "Rounds, from pulling to publishing."
    return [make_histogram(name, text, rounds.stats.durations)]


def make_federation_metrics(
    rounds: Rounds, publisher: Publisher, interval_seconds: float
) -> list[Metric]:
    """Return what a federation tells of itself."""
    stats, fleet = rounds.stats, rounds.fleet

    def gauge(name: str, text: str, read: Callable[[], float | None]) -> Metric:
        return Metric(f"constellation_federation_{name}", MetricKind.GAUGE, text, make_reader(read))

    def counter(name: str, text: str, read: Callable[[], Values]) -> Metric:
        return Metric(f"constellation_federation_{name}", MetricKind.COUNTER, text, read)

    return [
        counter("rounds", "Rounds, by how they ended.", partial(_count_rounds, stats)),
        counter(
            "patterns_aggregated",
            "Cluster rows that pulls brought.",
            make_reader(lambda: stats.clusters_pulled),
        ),
        counter(
            "trends_detected", "Trends published.", make_reader(lambda: stats.trends_published)
        ),
        counter(
            "pulls_unanswered",
            "Shards that did not answer.",
            make_reader(lambda: stats.pulls_unanswered),
        ),
        counter(
            "aggregates_rejected",
            "Aggregates that could not be.",
            make_reader(lambda: stats.aggregates_rejected),
        ),
        counter(
            "globals_published",
            "Globals shards took.",
            make_reader(lambda: publisher.globals_published),
        ),
        gauge("active", "1 when it runs the rounds, else 0.", rounds.became_active.is_set),
        gauge("shards", "Shards heard so far.", lambda: len(fleet.aggregates)),
        gauge(
            "coverage_ratio",
            "Known devices heard in the last round, once there was one.",
            lambda: stats.coverage,
        ),
        gauge("clusters", "Clusters the last round published.", lambda: stats.cluster_count),
        gauge("interval_seconds", "FEDERATION_INTERVAL_SECS.", lambda: interval_seconds),
        gauge("round_id", "The newest global.", lambda: _get_round_id(rounds)),
        gauge(
            "round_age_seconds",
            "Since a global was last published, or it became active; of the active one only.",
            lambda: _compute_age(stats),
        ),
    ]


def _count_rounds(stats: RoundStats) -> Values:
    return [(count, {"status": state.name.lower()}) for state, count in stats.rounds.items()]


def _compute_age(stats: RoundStats) -> float | None:
    return None if stats.published_at is None else time.time() - stats.published_at


def _get_round_id(rounds: Rounds) -> int:
    return rounds.last_global.round_id if rounds.last_global else 0
