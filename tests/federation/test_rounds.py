"""Rounds over real gRPC with real shards: which shards answer, and what comes back."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from constellation.config import Address, Count, Interval, RobustMerge, ShardMap
from constellation.placement import find_owner
from constellation.v1 import federation_pb2 as pb
from constellation.v1 import federation_pb2_grpc
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.federation.fleet import (
    FILMS,
    HOUR,
    SampleDevice,
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.polling import wait_until
from tests.sharing import add_to_catalogue
from tests.sync_client import SyncStream, make_pull, open_stream, read_error_reason

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard
    from constellation.v1 import patterns_pb2
    from federation.server import RunningFederation

NORTH = [make_drama_device(number) for number in range(6)]
SOUTH = [make_drama_device(number) for number in range(10, 16)]


async def pull_as_new_device(shard: RunningShard) -> patterns_pb2.GlobalUpdate:
    """Return the global update that a new device receives."""
    async with grpc.aio.insecure_channel(get_address(shard)) as channel:
        return (await SyncServiceStub(channel).Exchange(make_pull(999))).update


async def test_rounds_bring_every_shards_taste_to_a_device_that_has_none() -> None:
    async with run_shards(2) as (north, south):
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)

        async with run_federation([get_address(north), get_address(south)]) as federation:
            reports = [await run_round(federation) for _ in range(3)]

        assert [each.state for each in reports] == [pb.ROUND_STATE_PUBLISHED] * 3
        assert [each.round_id for each in reports] == [1, 2, 3]
        assert reports[-1].coverage.shards_fresh == reports[-1].coverage.shards_total == 2
        assert reports[-1].coverage.devices_fresh == reports[-1].coverage.devices_total == 12
        for shard in (north, south):
            update = await pull_as_new_device(shard)
            assert list(update.clusters.content_ids) == ["film:1", "film:1b"]
            assert update.clusters.sample_counts == [12]
            assert list(update.clusters.genres) == []  # no catalogue knows them
            assert not update.similar.ids
            assert [trend.content_id for trend in update.trends] == ["film:1"]
            assert update.trends[0].scope == 2


async def test_a_device_with_an_open_stream_gets_the_increment() -> None:
    async with run_shards(2) as (north, south):
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)
        async with (
            run_federation(
                [get_address(north), get_address(south)],
                reanchor_hours=Interval(1e-9),  # every round revises the codebook
            ) as federation,
            grpc.aio.insecure_channel(get_address(north)) as channel,
            open_stream(channel) as device,
        ):
            await device.open(50)
            await run_round(federation)
            first = await wait_for_clusters(device, clusters=1)
            await push_devices(south, [make_drama_device(number, 2) for number in range(20, 26)])
            await push_devices(north, [make_drama_device(number, 2) for number in range(30, 36)])
            await run_round(federation)  # makes an anchor of what was near no anchor
            await wait_for_codebook(2, north, south)
            await run_round(federation)
            second = await wait_for_clusters(device, clusters=2)

        assert list(first.clusters.content_ids) == ["film:1", "film:1b"]
        assert {"film:2", "film:2b"} <= set(second.clusters.content_ids)


async def wait_for_codebook(codebook_version: int, *fleet: RunningShard) -> None:
    """Return once shards have sums over a codebook."""

    async def is_current() -> bool:
        return all(each.manager.aggregates.codebook_version == codebook_version for each in fleet)

    await wait_until(is_current)


async def wait_for_clusters(device: SyncStream, clusters: int) -> patterns_pb2.GlobalUpdate:
    """Acknowledge updates until one leaves the device with this many clusters."""
    while True:
        update: patterns_pb2.GlobalUpdate = await device.expect("global_update")
        await device.acknowledge(update)
        if update.cluster_count == clusters:
            return update


async def test_an_unavailable_shard_counts_by_its_last_aggregate_and_catches_up(
    tmp_path: Path,
) -> None:
    async with run_shards(2) as (north, south), AsyncExitStack() as federations:
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)
        async with run_shard(shard_id=2, data_dir=tmp_path) as west:
            await push_devices(west, [make_drama_device(number) for number in range(40, 46)])
            address = get_address(west)
            federation = await federations.enter_async_context(
                run_federation(
                    [get_address(north), get_address(south), address],
                    pull_timeout_seconds=Interval(2),
                )
            )
            await run_round(federation)
            await run_round(federation)
        report = await run_round(federation)
        update = await pull_as_new_device(north)
        async with run_shard(shard_id=2, data_dir=tmp_path, grpc_addr=Address(address)) as west:
            before = west.manager.global_state.round.round_id
            await wait_until(partial(is_caught_up, federation, west))
            after = west.manager.global_state.round.round_id

    (stale,) = [shard for shard in report.shards if shard.address == address]
    assert stale.outcome == pb.SHARD_OUTCOME_STALE
    assert stale.devices == 6
    assert not stale.published
    assert (report.coverage.shards_fresh, report.coverage.shards_stale) == (2, 1)
    assert (report.coverage.devices_fresh, report.coverage.devices_total) == (12, 18)
    assert update.clusters.sample_counts == [18]
    assert (before, after) == (2, 3)


async def is_caught_up(federation: RunningFederation, shard: RunningShard) -> bool:
    # The federation does this every CATCH_UP_SECONDS. Its channel backs off for a while.
    await federation.publisher.publish_pending()
    last = federation.publisher.last_global
    return last is not None and shard.manager.global_state.round.round_id == last.round_id


async def test_an_aggregate_that_is_too_old_does_not_count() -> None:
    async with run_shards(2) as (north, south), AsyncExitStack() as federations:
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)
        async with run_shard(shard_id=2) as west:
            await push_devices(west, [make_drama_device(number) for number in range(40, 46)])
            federation = await federations.enter_async_context(
                run_federation(
                    [get_address(north), get_address(south), get_address(west)],
                    pull_timeout_seconds=Interval(1),
                    max_age_seconds=Interval(0.01),
                )
            )
            await run_round(federation)
            await run_round(federation)
        report = await run_round(federation)

    assert report.coverage.shards_stale == 0
    assert {shard.outcome for shard in report.shards} == {
        pb.SHARD_OUTCOME_FRESH,
        pb.SHARD_OUTCOME_MISSING,
    }


async def test_too_few_shards_publish_nothing() -> None:
    async with run_shards(1) as (north,):
        await push_devices(north, NORTH)
        async with run_federation(
            [get_address(north), "127.0.0.1:1"], pull_timeout_seconds=Interval(1)
        ) as federation:
            async with grpc.aio.insecure_channel(get_address(federation)) as channel:
                stub = federation_pb2_grpc.FederationServiceStub(channel)
                call = stub.RunRound(pb.RunRoundRequest())
                with pytest.raises(grpc.aio.AioRpcError, match="1 of 2 shards answered"):
                    await call
                reason = await read_error_reason(call)
            report = await fetch_newest_round(federation.port)

        assert reason == "NO_QUORUM"
        assert report.state == pb.ROUND_STATE_NO_QUORUM
        assert [shard.outcome for shard in report.shards] == [
            pb.SHARD_OUTCOME_MISSING,
            pb.SHARD_OUTCOME_FRESH,
        ]
        assert north.manager.global_state.published is None


async def test_too_few_devices_publish_nothing() -> None:
    async with run_shards(3) as (north, south, west):
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)
        await push_devices(west, [make_drama_device(number) for number in range(40, 80)])
        addresses = [get_address(each) for each in (north, south, west)]
        async with run_federation(addresses) as federation:
            await run_round(federation)
            known = federation.rounds.fleet.clients
            federation.rounds.fleet.clients = [c for c in known if c.address != addresses[2]]
            with pytest.raises(grpc.aio.AioRpcError, match="12 of 52 devices, but MIN_COVERAGE"):
                await run_round(federation)


async def fetch_newest_round(port: int) -> pb.Round:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = federation_pb2_grpc.FederationServiceStub(channel)
        answer: pb.GetRoundResponse = await stub.GetRound(pb.GetRoundRequest())
        return answer.round


async def test_a_device_that_moved_to_another_shard_is_counted_once(tmp_path: Path) -> None:
    everybody = [make_drama_device(number) for number in range(12)]
    async with run_shard(shard_id=0, data_dir=tmp_path) as alone:
        await push_devices(alone, everybody)
    shard_map = ShardMap({0: "127.0.0.1:1", 1: "127.0.0.1:2"})
    moved = [each for each in everybody if find_owner(device_id(each.number), shard_map) == 1]
    async with (
        run_shard(shard_id=0, data_dir=tmp_path, shard_map=shard_map, accept_shard_map=True) as old,
        run_shard(shard_id=1, shard_map=shard_map) as new,
    ):
        await push_devices(new, moved)
        for shard in (old, new):
            await add_to_catalogue(shard.manager, FILMS)
        async with run_federation([get_address(old), get_address(new)]) as federation:
            await run_round(federation)
            report = await run_round(federation)
            update = await pull_as_new_device(
                old if find_owner(device_id(999), shard_map) == 0 else new
            )

        assert 0 < len(moved) < 12
        assert report.coverage.devices_fresh == 12
        assert update.clusters.sample_counts == [12]
        table = old.manager.table
        stored = np.arange(table.device_allocator.high_water)
        assert table.counts_for_others(stored).sum() == 12 - len(moved)


async def test_five_shards_may_be_merged_by_the_geometric_median() -> None:
    async with run_shards(5) as fleet:
        for position, shard in enumerate(fleet):
            direction = 1 if position else 2  # one shard has another taste in the same cluster
            numbers = range(100 * position, 100 * position + 6)
            await push_devices(shard, [make_drama_device(number, direction) for number in numbers])
        async with run_federation(
            [get_address(each) for each in fleet],
            robust_merge=RobustMerge("geometric_median"),
            min_shards=Count(1),
        ) as federation:
            reports = [await run_round(federation) for _ in range(3)]

    assert reports[-1].state == pb.ROUND_STATE_PUBLISHED
    assert reports[-1].cluster_count == 2


async def test_a_content_that_few_support_is_not_published() -> None:
    rare = SampleDevice(
        5, [PatternSpec(0, 1, 0.95, 16, contents=("film:1", "film:rare"))], [("film:1", HOUR - 1)]
    )
    async with run_shards(2) as (north, south):
        await push_devices(north, [*NORTH[:5], rare])
        await push_devices(south, SOUTH)
        async with run_federation([get_address(north), get_address(south)]) as federation:
            await run_round(federation)
            await run_round(federation)

        update = await pull_as_new_device(south)
        assert "film:rare" not in update.clusters.content_ids
        assert "film:1" in update.clusters.content_ids


async def test_publishing_a_round_again_changes_nothing() -> None:
    async with run_shards(2) as (north, south):
        await push_devices(north, NORTH)
        await push_devices(south, SOUTH)
        async with run_federation([get_address(north), get_address(south)]) as federation:
            await run_round(federation)
            before = north.manager.global_state.version
            federation.publisher.forget(get_address(north))

            problems = await federation.publisher.publish_pending()

            assert problems == {}
            assert north.manager.global_state.version == before


async def test_a_fleet_without_common_tastes_goes_on() -> None:
    async with run_shards(2, k_anonymity=Count(5)) as (north, south):
        await push_devices(north, NORTH[:2])
        await push_devices(south, SOUTH[:2])
        async with run_federation([get_address(north), get_address(south)]) as federation:
            first = await run_round(federation)
            await push_devices(north, NORTH[2:])
            await push_devices(south, SOUTH[2:])
            second = await run_round(federation)
            await wait_for_codebook(1, north, south)
            third = await run_round(federation)

    assert (first.anchor_count, second.anchor_count, third.cluster_count) == (0, 1, 1)


async def test_commits_stay_paused_until_the_fold_of_a_cancelled_pull_ends() -> None:
    async with run_shards(1) as (shard,):
        await push_devices(shard, NORTH)
        folding, may_go_on = threading.Event(), threading.Event()

        def slowly() -> None:
            folding.set()
            may_go_on.wait(10)

        pull = asyncio.create_task(shard.manager.committer.run_with_commits_paused(slowly))
        await asyncio.to_thread(folding.wait, 10)
        pull.cancel()
        pushing = asyncio.create_task(push_devices(shard, SOUTH))
        with pytest.raises(asyncio.CancelledError):
            await pull

        assert shard.manager.committer.write_lock.locked()
        may_go_on.set()
        await pushing
