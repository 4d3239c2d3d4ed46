"""The health of a federation's components, with the figures that explain it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.v1 import health_pb2 as pb
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation.transport.health.service import Health
    from federation.rounds import Rounds

_OVERDUE_INTERVALS: Final = 2.5
"""A round is overdue when the last global is older than this many intervals."""


def describe_components(
    health: Health,
    rounds: Rounds,
    interval_seconds: float,
    describe_security: Callable[[], Sequence[pb.ComponentHealth]],
) -> list[pb.ComponentHealth]:
    """Return the health of the shards, the last round, certificate and keys, and the traffic.

    `interval_seconds` is the time between two rounds; 0 if rounds run only on request.
    """
    return [
        _describe_shards(rounds),
        _describe_last_round(rounds, interval_seconds),
        *describe_security(),
        health.describe_traffic(),
    ]


def _describe_shards(rounds: Rounds) -> pb.ComponentHealth:
    """Return the health of the shards: degraded if the last round missed MIN_COVERAGE."""
    known, addresses = len(rounds.fleet.aggregates), len(rounds.fleet.clients)
    ratio = rounds.stats.coverage_ratio
    is_low = ratio is not None and ratio < rounds.policy.min_coverage
    return pb.ComponentHealth(
        name="shards",
        status=_to_status(is_degraded=is_low),
        message=f"{known} known at {addresses} addresses, {_describe_coverage(rounds)}",
    )


def _describe_coverage(rounds: Rounds) -> str:
    """Return what the last round covered, and when: it says nothing about the time since."""
    report, ratio = rounds.stats.last_report, rounds.stats.coverage_ratio
    if rounds.policy.is_relay:
        return "pulled when the federation above asks"
    if report is None or report.closed_at is None or report.coverage is None:
        return "no round yet"
    age = max(0.0, read_clock() - report.closed_at)
    if not report.coverage.shards_fresh:
        covered = "heard no shard"
    else:
        covered = "heard no devices" if ratio is None else f"covered {ratio:.0%} of the devices"
    return f"round {report.round_id}, {age:.0f} seconds ago, {covered}"


def _describe_last_round(rounds: Rounds, interval_seconds: float) -> pb.ComponentHealth:
    """Return the health of the last round: degraded if it is overdue.

    A round that no shard took is degraded, and so is one that a shard refuses for a later one. A
    federation that is not the active one is never degraded: another one runs the rounds.
    """
    published_at = rounds.published_at
    age = 0.0 if published_at is None else read_clock() - published_at
    if published_at is None:
        message = "no rounds run here: another federation is the active one"
    elif rounds.last_global is None:
        message = f"none was published in the {age:.0f} seconds since this became the active one"
    else:
        message = f"round {rounds.last_global.round_id} was published {age:.0f} seconds ago"
    if problem := _describe_refusals(rounds):
        return pb.ComponentHealth(
            name="round", status=_to_status(is_degraded=True), message=problem
        )
    is_overdue = interval_seconds > 0 and age > _OVERDUE_INTERVALS * interval_seconds
    return pb.ComponentHealth(
        name="round", status=_to_status(is_degraded=is_overdue), message=message
    )


def _describe_refusals(rounds: Rounds) -> str:
    """Return which shards did not take the last global, if none did or one never will; else ""."""
    publisher, last = rounds.publisher, rounds.last_global
    if last is None or not publisher.problems:
        return ""
    if superseded := publisher.find_superseded():
        count = f"{len(superseded)} of {len(rounds.fleet.clients)} addresses refuse"
        first = superseded[0]
        return f"{count} round {last.round_id}: {first}: {publisher.problems[first]}"
    if publisher.is_taken:
        return ""
    first = min(publisher.problems)
    return f"no shard took round {last.round_id}: {first}: {publisher.problems[first]}"


def _to_status(*, is_degraded: bool) -> pb.HealthStatus.ValueType:
    return pb.HEALTH_STATUS_DEGRADED if is_degraded else pb.HEALTH_STATUS_HEALTHY
