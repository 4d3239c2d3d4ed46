"""The health of a federation's components, with the figures that explain it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from constellation.v1 import health_pb2 as pb

if TYPE_CHECKING:
    from constellation.transport.health.service import Health
    from federation.rounds import Rounds

_OVERDUE_INTERVALS: Final = 2.5
"""A round is overdue when the last global is older than this many intervals."""


def describe_components(
    health: Health, rounds: Rounds, interval_seconds: float
) -> list[pb.ComponentHealth]:
    """Return the health of the shards, of the last round and of the traffic.

    `interval_seconds` is the time between two rounds; 0 if rounds run only on request.
    """
    return [
        _describe_shards(rounds),
        _describe_last_round(rounds, interval_seconds),
        health.describe_traffic(),
    ]


def _describe_shards(rounds: Rounds) -> pb.ComponentHealth:
    """Return the health of the shards: degraded if the last round missed MIN_COVERAGE."""
    known, addresses = len(rounds.fleet.aggregates), len(rounds.fleet.clients)
    coverage = rounds.stats.coverage
    is_low = coverage is not None and coverage < rounds.policy.min_coverage
    last = "no round since the start"
    if coverage is not None:
        last = f"the last round covered {coverage:.0%} of the devices"
    return pb.ComponentHealth(
        name="shards",
        status=_to_status(is_degraded=is_low),
        message=f"{known} known at {addresses} addresses, {last}",
    )


def _describe_last_round(rounds: Rounds, interval_seconds: float) -> pb.ComponentHealth:
    """Return the health of the last round: degraded if it is overdue.

    A federation that is not the active one is never degraded: another one runs the rounds.
    """
    published_at = rounds.stats.published_at
    age = 0.0 if published_at is None else time.time() - published_at
    if published_at is None:
        message = "no rounds run here: another federation is the active one"
    elif rounds.last_global is None:
        message = f"none was published in the {age:.0f} seconds since this became the active one"
    else:
        message = f"round {rounds.last_global.round_id} was published {age:.0f} seconds ago"
    is_overdue = interval_seconds > 0 and age > _OVERDUE_INTERVALS * interval_seconds
    return pb.ComponentHealth(
        name="round", status=_to_status(is_degraded=is_overdue), message=message
    )


def _to_status(*, is_degraded: bool) -> pb.HealthStatus.ValueType:
    return pb.HEALTH_STATUS_DEGRADED if is_degraded else pb.HEALTH_STATUS_HEALTHY
