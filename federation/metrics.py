"""The metrics of a federation, read at each scrape."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from constellation.federated.weeks import find_week
from constellation.telemetry.metrics import (
    HistogramMetric,
    Metric,
    MetricKind,
    make_histogram,
    make_reader,
)
from constellation.wall_clock import read_clock
from federation.privacy.budget import RELEASES_PER_WEEK, Mechanism

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.telemetry.metrics import Values
    from federation.privacy.mode import PrivacyMode
    from federation.round_stats import RoundStats
    from federation.rounds import Rounds
    from federation.shards.publisher import Publisher


def make_health_metric(is_ready: Callable[[], bool]) -> Metric:
    """Return the metric of whether a federation accepts traffic. It exists from the start."""
    text = "1 when the federation accepts traffic, else 0."
    return Metric("constellation_federation_health", MetricKind.GAUGE, text, make_reader(is_ready))


def make_federation_histograms(rounds: Rounds) -> list[HistogramMetric]:
    """Return the histogram of how long rounds took."""
    name = "constellation_federation_duration_seconds"
    text = "Duration of rounds, from pulling to publishing."
    return [make_histogram(name, text, rounds.stats.durations)]


def make_federation_metrics(
    rounds: Rounds, publisher: Publisher, interval_seconds: float
) -> list[Metric]:
    """Return the metrics of rounds, shards and globals.

    `interval_seconds` is the time between two rounds, 0 if rounds run only on request.
    """
    stats, fleet = rounds.stats, rounds.fleet

    def gauge(name: str, text: str, read: Callable[[], float | None]) -> Metric:
        return Metric(f"constellation_federation_{name}", MetricKind.GAUGE, text, make_reader(read))

    def counter(name: str, text: str, read: Callable[[], Values]) -> Metric:
        return Metric(f"constellation_federation_{name}", MetricKind.COUNTER, text, read)

    return [
        counter("rounds", "Finished rounds, by final state.", partial(_count_rounds, stats)),
        counter(
            "patterns_aggregated",
            "Cluster rows received in pulls.",
            make_reader(lambda: stats.clusters_pulled),
        ),
        counter(
            "trends_detected", "Trends published.", make_reader(lambda: stats.trends_published)
        ),
        counter(
            "pulls_unanswered",
            "Pulls without an answer.",
            make_reader(lambda: stats.pulls_unanswered),
        ),
        counter(
            "aggregates_rejected",
            "Answers refused because an aggregate was invalid.",
            make_reader(lambda: stats.aggregates_rejected),
        ),
        counter(
            "globals_published",
            "Globals published successfully, counted for each address.",
            make_reader(lambda: publisher.globals_published),
        ),
        gauge(
            "active", "1 when this is the active federation, else 0.", rounds.became_active.is_set
        ),
        gauge("shards", "Known shards.", lambda: len(fleet.aggregates)),
        gauge(
            "coverage_ratio",
            "Share of known devices that the last round covered; absent before the first round.",
            lambda: stats.coverage_ratio,
        ),
        gauge("clusters", "Clusters in the last published round.", lambda: stats.cluster_count),
        gauge(
            "related_rows",
            "Rows of related content in the last published round.",
            lambda: stats.related_count,
        ),
        counter(
            "related_rows_changed",
            "Rows of related content that were published new or changed.",
            make_reader(lambda: stats.related_changed),
        ),
        gauge(
            "contributors",
            "Devices that contributed to related and popular content when it was last computed.",
            lambda: stats.contributors,
        ),
        gauge(
            "solve_seconds",
            "How long it last took to compute related and popular content.",
            lambda: stats.solve_seconds,
        ),
        gauge(
            "interval_seconds",
            "FEDERATION_INTERVAL_SECS: seconds between two rounds.",
            lambda: interval_seconds,
        ),
        gauge("round_id", "Round of the newest global.", lambda: _get_round_id(rounds)),
        gauge(
            "round_age_seconds",
            "Seconds since a shard last took a global, or, if none did, since this federation "
            "became the active one. Only the active federation has it.",
            lambda: _compute_age(rounds),
        ),
    ]


def make_privacy_metrics(privacy: PrivacyMode) -> list[Metric]:
    """Return the metrics of the privacy budget; only the active federation has current ones."""

    def gauge(name: str, text: str, read: Callable[[], Values]) -> Metric:
        return Metric(f"constellation_federation_{name}", MetricKind.GAUGE, text, read)

    return [
        gauge(
            "privacy_budget_epsilon",
            "PRIVACY_EPSILON: the most that all publications of a week may reveal of a device.",
            make_reader(lambda: privacy.budget.epsilon),
        ),
        gauge(
            "privacy_spent_epsilon",
            "Epsilon that the releases of the present week have spent together.",
            make_reader(lambda: _compute_spent(privacy)),
        ),
        gauge(
            "privacy_spent_share",
            "Share of its budget of the present week that each mechanism has spent.",
            partial(_compute_shares, privacy),
        ),
        Metric(
            "constellation_federation_privacy_releases_refused",
            MetricKind.COUNTER,
            "Releases that were refused because they would have overspent the budget.",
            make_reader(lambda: privacy.releases_refused),
        ),
    ]


def _compute_spent(privacy: PrivacyMode) -> float:
    return privacy.compute_epsilon(privacy.ledger.count_units(find_week(read_clock())))


def _compute_shares(privacy: PrivacyMode) -> Values:
    ledger, week = privacy.ledger, find_week(read_clock())
    return [
        (
            ledger.count_units(week, each)
            / max(privacy.budget.get_units(each) * RELEASES_PER_WEEK[each], 1),
            {"mechanism": each.value},
        )
        for each in Mechanism
    ]


def _count_rounds(stats: RoundStats) -> Values:
    return [(count, {"status": state.name.lower()}) for state, count in stats.rounds.items()]


def _compute_age(rounds: Rounds) -> float | None:
    return None if rounds.published_at is None else read_clock() - rounds.published_at


def _get_round_id(rounds: Rounds) -> int:
    return rounds.last_global.round_id if rounds.last_global else 0
