"""What metrics, health and rounds say of coverage is the same, also after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from constellation.config import Interval
from constellation.v1 import federation_pb2, health_pb2
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation.v1.health_pb2_grpc import HealthServiceStub
from federation.printing import format_coverage
from tests.conftest import run_shard
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.telemetry.test_metrics import get_value, scrape_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from federation.server import RunningFederation

RATIO = "constellation_federation_coverage_ratio"


async def read_coverage(federation: RunningFederation) -> tuple[str, str, float | None]:
    """Return what the newest round, the health of the shards and the metric say."""
    async with grpc.aio.insecure_channel(get_address(federation)) as channel:
        newest = await FederationServiceStub(channel).GetRound(federation_pb2.GetRoundRequest())
        request = health_pb2.GetDetailedHealthRequest()
        health = await HealthServiceStub(channel).GetDetailedHealth(request)
    (shards,) = [each for each in health.components if each.name == "shards"]
    found = scrape_metrics(federation.ports.metrics)
    ratio = get_value(found, RATIO) if RATIO in found else None
    return format_coverage(newest.round), shards.message, ratio


async def test_metrics_health_and_rounds_agree_after_a_shard_died_and_after_a_restart(
    tmp_path: Path,
) -> None:
    settings = {"data_dir": tmp_path, "pull_timeout_seconds": Interval(1)}
    async with run_shards(2) as fleet:
        async with run_shard(shard_id=2) as died:
            addresses = [get_address(each) for each in (*fleet, died)]
            for position, shard in enumerate((*fleet, died)):
                numbers = range(10 * position, 10 * position + 6)
                await push_devices(shard, [make_drama_device(number) for number in numbers])
            async with run_federation(addresses, **settings) as federation:
                await run_round(federation)
                whole = await read_coverage(federation)
        async with run_federation(addresses, **settings) as federation:
            before = await read_coverage(federation)
            await run_round(federation)
            after = await read_coverage(federation)
        async with run_federation(addresses, **settings) as federation:
            restarted = await read_coverage(federation)

    assert whole[0] == before[0] == "3 of 3 shards fresh; 18 of 18 devices (100%)"
    assert before[1].startswith("3 known at 3 addresses, round 1, ")  # as of when: before it died
    assert "seconds ago, covered 100% of the devices" in before[1]
    assert whole[2] == before[2] == 1.0
    for coverage, health, ratio in (after, restarted):
        assert coverage == "2 of 3 shards fresh, 1 stale; 12 of 18 devices (67%)"
        assert "round 2, " in health
        assert "covered 67% of the devices" in health
        assert ratio is not None
        assert abs(ratio - 2 / 3) < 1e-9


async def test_an_empty_fleet_has_no_percentage_anywhere() -> None:
    async with (
        run_shards(2) as fleet,
        run_federation([get_address(each) for each in fleet]) as federation,
    ):
        await run_round(federation)
        coverage, health, ratio = await read_coverage(federation)

    assert coverage == "2 of 2 shards fresh; no devices known"
    assert health.endswith("heard no devices")
    assert ratio is None
