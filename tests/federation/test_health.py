from __future__ import annotations

import time

from constellation.federated.published import StoredGlobal
from constellation.transport.health.service import Health
from constellation.v1 import health_pb2 as pb
from federation.health import describe_components
from federation.journal.memory import MemoryJournal
from federation.merge.result import RoundRules
from federation.round_policy import RoundPolicy
from federation.round_report import Coverage, RoundReport, RoundState
from federation.rounds import Rounds
from federation.shards.fleet import Fleet
from federation.shards.publisher import Publisher

HOURLY = 3600.0


class Federation:
    """The parts of a federation without shards that its health is read from."""

    def __init__(self) -> None:
        self.publisher = Publisher([], timeout_seconds=1.0)
        self.rounds = Rounds(
            Fleet([]), MemoryJournal(), self.publisher, RoundRules(), RoundPolicy(min_coverage=0.6)
        )
        self.health = Health(())

    def publish(self, *, seconds_ago: float) -> None:
        self.publisher.last_global = StoredGlobal(1, 7, b"")
        self.rounds.stats.published_at = time.time() - seconds_ago

    def cover(self, devices: int, of: int, *, shards: int = 3) -> None:
        """Let round 7 have ended 90 seconds ago with this coverage."""
        self.rounds.stats.last_report = RoundReport(
            round_id=7,
            generation=1,
            state=RoundState.PUBLISHED,
            started_at=time.time() - 91,
            closed_at=time.time() - 90,
            coverage=Coverage(shards, 0, 3, devices, of),
        )

    def describe(self, name: str, interval_seconds: float = HOURLY) -> pb.ComponentHealth:
        components = describe_components(self.health, self.rounds, interval_seconds, list)
        (component,) = [each for each in components if each.name == name]
        return component


def test_without_a_round_the_shards_are_healthy() -> None:
    shards = Federation().describe("shards")

    assert shards.status == pb.HEALTH_STATUS_HEALTHY
    assert shards.message == "0 known at 0 addresses, no round yet"


def test_a_round_that_covered_too_few_devices_degrades_the_shards() -> None:
    federation = Federation()

    federation.cover(6, of=10)
    enough = federation.describe("shards")
    federation.cover(5, of=10)
    low = federation.describe("shards")

    assert enough.status == pb.HEALTH_STATUS_HEALTHY
    assert low.status == pb.HEALTH_STATUS_DEGRADED
    assert low.message.endswith("round 7, 90 seconds ago, covered 50% of the devices")


def test_shards_without_devices_are_not_covered_by_a_percentage() -> None:
    federation = Federation()
    federation.cover(0, of=0)

    shards = federation.describe("shards")

    assert shards.status == pb.HEALTH_STATUS_HEALTHY
    assert shards.message.endswith("round 7, 90 seconds ago, heard no devices")


def test_a_round_that_heard_no_shard_degrades_the_shards() -> None:
    federation = Federation()
    for known in (0, 10):
        federation.cover(0, of=known, shards=0)
        shards = federation.describe("shards")

        assert shards.status == pb.HEALTH_STATUS_DEGRADED
        assert shards.message.endswith("round 7, 90 seconds ago, heard no shard")


def test_a_round_is_overdue_after_two_and_a_half_intervals() -> None:
    federation = Federation()

    federation.publish(seconds_ago=2.4 * HOURLY)
    recent = federation.describe("round")
    federation.publish(seconds_ago=2.6 * HOURLY)
    overdue = federation.describe("round")

    assert recent.status == pb.HEALTH_STATUS_HEALTHY
    assert overdue.status == pb.HEALTH_STATUS_DEGRADED
    assert overdue.message == "round 7 was published 9360 seconds ago"


def test_rounds_on_request_are_never_overdue() -> None:
    federation = Federation()
    federation.publish(seconds_ago=1e6)

    assert federation.describe("round", interval_seconds=0).status == pb.HEALTH_STATUS_HEALTHY


def test_a_federation_that_waits_has_no_overdue_round() -> None:
    waiting = Federation().describe("round")

    assert waiting.status == pb.HEALTH_STATUS_HEALTHY
    assert waiting.message == "no rounds run here: another federation is the active one"


def test_traffic_says_why_there_is_none() -> None:
    federation = Federation()
    federation.health.mark_not_ready("waiting to become the active federation")

    assert "waiting to become" in federation.describe("traffic").message
