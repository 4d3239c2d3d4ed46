from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.v1.shard_pb2 import AddContentRequest
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation_settop import InvalidArgumentError, SyncSettings, UnreachableError
from constellation_settop.simulator.fleet import FleetSettings, load_catalogue, run_fleet
from constellation_settop.simulator.plan import DayShape
from tests.conftest import run_shard
from tests.servers import make_content_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.server import RunningShard
    from constellation_settop.simulator.figures import Summary
    from constellation_settop.simulator.fleet import Progress

QUICK = SyncSettings(backoff_base_seconds=0.02, backoff_cap_seconds=0.1)
SETTINGS = FleetSettings(devices=50, seconds=3.0, shape=DayShape("flat", 6.0), sync=QUICK)


async def add_films(shard: RunningShard, count: int = 60) -> str:
    """Fill the catalogue of a shard, and return its address."""
    address = f"127.0.0.1:{shard.port}"
    contents = [
        make_content_message(f"film-{number}", f"Film {number}", number + 1)
        for number in range(count)
    ]
    async with grpc.aio.insecure_channel(address) as channel:
        await ShardServiceStub(channel).AddContent(AddContentRequest(contents=contents))
    return address


async def run(
    address: str,
    settings: FleetSettings,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Summary:
    catalogue = await load_catalogue(address, settings)
    return await run_fleet(address, catalogue, settings, on_progress=on_progress)


async def test_fifty_devices_live_through_a_day_and_the_shard_has_it_all() -> None:
    connected: list[int] = []
    shares: list[float] = []

    def watch(progress: Progress) -> None:
        connected.append(progress.figures.connected)
        shares.append(progress.share)

    async with run_shard() as shard:
        summary = await run(await add_films(shard), SETTINGS, watch)
        table = shard.manager.table
        stored_devices = table.device_allocator.high_water
        stored_patterns = table.totals.patterns

    assert (summary.devices, summary.waiting, summary.problems) == (50, 0, {})
    assert 40 <= stored_devices <= 50
    assert stored_patterns >= 50
    assert summary.acked >= stored_devices
    assert summary.sessions >= stored_devices
    assert 200 < summary.views < 400
    assert summary.recommend_p99_ms > 0
    assert shares == sorted(shares)
    assert (shares[-1], max(connected) > 30) == (1.0, True)


async def test_devices_that_connect_now_and_then_get_everything_across_too() -> None:
    settings = replace(SETTINGS, devices=10, sync=replace(QUICK, stay_connected=False))
    async with run_shard() as shard:
        summary = await run(await add_films(shard), settings)

    assert (summary.waiting, summary.problems) == (0, {})
    assert summary.acked > 0
    assert summary.updates > 0


async def test_a_shard_that_goes_away_is_a_problem_in_the_summary() -> None:
    async with run_shard() as shard:
        address = await add_films(shard)
        catalogue = await load_catalogue(address, SETTINGS)
    shape = DayShape("flat", 6.0, churn=0, offline=0)
    settings = replace(SETTINGS, devices=3, seconds=1.5, shape=shape, flush_seconds=0.2)

    summary = await run_fleet(address, catalogue, settings, on_progress=lambda _: None)

    assert summary.acked == 0
    assert summary.waiting >= 3
    assert any("no connection" in reason for reason in summary.problems)


async def test_an_empty_catalogue_and_a_missing_shard_are_said() -> None:
    async with run_shard() as shard:
        address = f"127.0.0.1:{shard.port}"
        with pytest.raises(InvalidArgumentError, match="is empty: give it films"):
            await load_catalogue(address, SETTINGS)
    with pytest.raises(UnreachableError, match="no connection"):
        await load_catalogue(address, SETTINGS)


def test_the_same_seed_gives_devices_the_same_jitter() -> None:
    one, other = SETTINGS.make_sync_settings(3), SETTINGS.make_sync_settings(3)

    assert one.random.random() == other.random.random()
    assert one.random.random() != SETTINGS.make_sync_settings(4).random.random()
