"""Two federations with two journals on the same shards: each logs what is right for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from constellation.v1 import federation_pb2 as pb
from constellation.v1 import health_pb2
from federation.health import describe_components
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.polling import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from constellation.server import RunningShard
    from federation.server import RunningFederation


def describe_round(federation: RunningFederation) -> health_pb2.ComponentHealth:
    components = describe_components(federation.health, federation.rounds, 3600, list)
    (component,) = [each for each in components if each.name == "round"]
    return component


async def wait_for_generation(generation: int, fleet: Sequence[RunningShard]) -> None:
    """Return once the sums of shards are over a codebook of this generation."""

    async def is_current() -> bool:
        headers = [
            (await each.manager.read_aggregate_since(0, 0, 0.0)).header.codebook_generation
            for each in fleet
        ]
        return headers == [generation] * len(fleet)

    await wait_until(is_current)


async def test_the_older_of_two_journals_is_told_to_stop_and_its_round_is_not_healthy(
    tmp_path: Path,
) -> None:
    async with run_shards(2) as fleet:
        addresses = [get_address(each) for each in fleet]
        for position, shard in enumerate(fleet):
            numbers = range(10 * position, 10 * position + 6)
            await push_devices(shard, [make_drama_device(number) for number in numbers])
        async with run_federation(addresses, data_dir=tmp_path / "older") as older:
            before = await run_round(older)
            await wait_for_generation(before.generation, fleet)
            async with run_federation(addresses, data_dir=tmp_path / "newer") as newer:
                with structlog.testing.capture_logs() as logs:
                    taken = await run_round(newer)
                    await wait_for_generation(taken.generation, fleet)
                    refused = await run_round(older)
                health, age = describe_round(older), older.rounds.published_at
                healthy = describe_round(newer)

    assert taken.generation > before.generation
    events = {entry["event"]: entry for entry in logs}
    assert (
        "if a federation with the older journal still runs"
        in (events["older_journal_found"]["advice"])
    )
    assert events["newer_journal_found"]["found"] == [taken.generation]
    assert events["round_not_taken"]["away"] == sorted(addresses)
    assert [shard.published for shard in refused.shards] == [False, False]
    assert "stop this one, or start it with that journal" in refused.shards[0].publish_problem
    assert refused.state == pb.ROUND_STATE_PUBLISHED
    assert health.status == health_pb2.HEALTH_STATUS_DEGRADED
    assert health.message.startswith("2 of 2 addresses refuse round 2: ")
    assert age is not None
    assert age < refused.started_at.ToNanoseconds() / 1e9
    assert healthy.status == health_pb2.HEALTH_STATUS_HEALTHY
