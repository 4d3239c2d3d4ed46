"""The metrics of a federation."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from constellation.telemetry.metrics import Buckets, Kind, Metric, histogram, one

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.telemetry.metrics import Values
    from federation.rounds import Counts, Rounds
    from federation.shards.publisher import Publisher


def health_metric(is_ready: Callable[[], bool]) -> Metric:
    """Return whether a federation is the active one, and well: known from its start on."""
    text = "1 when the federation takes traffic, else 0."
    return Metric("constellation_federation_health", Kind.GAUGE, text, one(is_ready))


def federation_histograms(rounds: Rounds) -> list[Buckets]:
    """Return how long rounds took."""
    name, text = "constellation_federation_duration_seconds", "Rounds, from pulling to publishing."
    return [histogram(name, text, rounds.counts.seconds)]


def federation_metrics(
    rounds: Rounds, publisher: Publisher, interval_seconds: float
) -> list[Metric]:
    """Return what a federation tells of itself."""
    counts, fleet = rounds.counts, rounds.fleet

    def gauge(name: str, text: str, read: Callable[[], float | None]) -> Metric:
        return Metric(f"constellation_federation_{name}", Kind.GAUGE, text, one(read))

    def counter(name: str, text: str, read: Callable[[], Values]) -> Metric:
        return Metric(f"constellation_federation_{name}", Kind.COUNTER, text, read)

    return [
        counter("rounds", "Rounds, by how they ended.", partial(_rounds, counts)),
        counter(
            "patterns_aggregated",
            "Cluster rows that pulls brought.",
            one(lambda: counts.clusters_pulled),
        ),
        counter("trends_detected", "Trends published.", one(lambda: counts.trends)),
        counter("pulls_unanswered", "Shards that did not answer.", one(lambda: counts.away)),
        counter("aggregates_refused", "Aggregates that could not be.", one(lambda: counts.refused)),
        counter("globals_published", "Globals shards took.", one(lambda: publisher.published)),
        gauge("active", "1 when it runs the rounds, else 0.", rounds.became_active.is_set),
        gauge("shards_known", "Shards heard so far.", lambda: len(fleet.aggregates)),
        gauge(
            "coverage_ratio",
            "Known devices heard in the last round, once there was one.",
            lambda: counts.coverage,
        ),
        gauge("clusters", "Clusters the last round published.", lambda: counts.clusters),
        gauge("interval_seconds", "FEDERATION_INTERVAL_SECS.", lambda: interval_seconds),
        gauge("round_id", "The newest global.", lambda: _round_id(rounds)),
        gauge(
            "round_age_seconds",
            "Since a global was last published, or it became active; of the active one only.",
            lambda: _age(counts),
        ),
    ]


def _rounds(counts: Counts) -> Values:
    return [(count, {"status": state.name.lower()}) for state, count in counts.rounds.items()]


def _age(counts: Counts) -> float | None:
    return None if counts.published_at is None else time.time() - counts.published_at


def _round_id(rounds: Rounds) -> int:
    return rounds.last.round_id if rounds.last else 0
