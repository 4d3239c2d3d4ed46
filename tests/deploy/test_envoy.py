"""The front door: Envoy with the committed file, two real shards behind it, and 50 SDK devices."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation import placement
from constellation.v1 import shard_pb2, sync_pb2, sync_pb2_grpc
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation_settop import SyncSettings
from testing.ports import find_free_address
from tests.deltas import PatternSpec, device_id
from tests.deploy.envoy import CONFIG, RunningEnvoy, run_envoy, validate_config
from tests.polling import wait_until
from tests.scenarios.processes import ShardProcess, run_shard_process
from tests.scenarios.sdk_devices import (
    SdkDevice,
    are_all_connected,
    are_all_disconnected,
    count_deltas,
    fetch_stats,
    flush_all,
    open_devices,
    push_continuously,
    read_stored,
    select_devices,
)
from tests.sync_client import (
    SyncStream,
    make_delta_message,
    make_hello,
    make_push,
    read_error_reason,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub
    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub

DEVICE_COUNT = 50
PUSH_INTERVAL_SECONDS = 0.5
"""How often each device pushes a delta."""
ENVOY_ROUTE_SECONDS = 15.0
"""Envoy's default time-out for calls, after which a Sync stream must still be open."""
DRAIN_SECONDS = 6.0
"""Longer than a health check needs to notice the drain."""
QUICK = SyncSettings(backoff_base_seconds=0.1, backoff_cap_seconds=1.0)
HEADER = "x-constellation-shard"
DEVICE_METHODS = (
    "/constellation.v1.ShardService/ListShards",
    "/constellation.v1.SyncService/GetSyncVersion",
    "/grpc.health.v1.Health/Check",
)
OPERATOR_METHODS = (
    "/constellation.v1.ShardService/ListDevices",
    "/constellation.v1.ShardService/SearchPatterns",
    "/constellation.v1.ProcessService/SetLogLevel",
    "/constellation.v1.AggregateService/PullAggregate",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


@dataclass(frozen=True)
class EnvoyDeployment:
    """Envoy and the addresses and folders of the shards behind it."""

    envoy: RunningEnvoy
    shards: dict[int, str]
    """The addresses of the shards by shard_id; devices never see them."""
    folder: Path

    @property
    def all_clusters(self) -> dict[str, set[str]]:
        """The ready shards of each cluster while every shard is ready."""
        alone = {f"shard_{shard_id}": {at} for shard_id, at in self.shards.items()}
        return {**alone, "any_shard": set(self.shards.values())}

    def clusters_without(self, shard_id: int) -> dict[str, set[str]]:
        """Return the ready shards of each cluster while one shard is not ready."""
        gone = {self.shards[shard_id]}
        return {name: ready - gone for name, ready in self.all_clusters.items()}

    def data_dir(self, shard_id: int) -> Path:
        return self.folder / f"shard-{shard_id}"

    @asynccontextmanager
    async def run_shard(self, shard_id: int, **settings: object) -> AsyncIterator[ShardProcess]:
        """Run a shard whose shard map has the front door's address for every shard."""
        named = dict.fromkeys(self.shards, self.envoy.address)
        async with run_shard_process(
            self.data_dir(shard_id),
            shard_id=shard_id,
            shard_map=placement.format_map(named),
            grpc_addr=self.shards[shard_id],
            **settings,
        ) as shard:
            yield shard

    async def wait_for_routes(self, clusters: dict[str, set[str]]) -> None:
        """Return once Envoy routes to exactly these shards."""

        async def is_routed() -> bool:
            return await self.envoy.get_ready_shards() == clusters

        await wait_until(is_routed)


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[EnvoyDeployment]:
    shards = {0: find_free_address(), 1: find_free_address()}
    async with run_envoy(shards, tmp_path) as front:
        yield EnvoyDeployment(front, shards, tmp_path)


@pytest.fixture
async def channel(deployment: EnvoyDeployment) -> AsyncIterator[grpc.aio.Channel]:
    """A connection through the front door."""
    async with grpc.aio.insecure_channel(deployment.envoy.address) as channel:
        yield channel


@asynccontextmanager
async def run_both_shards(
    deployment: EnvoyDeployment, **settings: object
) -> AsyncIterator[list[ShardProcess]]:
    async with AsyncExitStack() as stack:
        shards = [
            await stack.enter_async_context(deployment.run_shard(each, **settings))
            for each in deployment.shards
        ]
        await deployment.wait_for_routes(deployment.all_clusters)
        yield shards


async def fetch_shard_id(channel: grpc.aio.Channel, *header: tuple[str, str]) -> int:
    """Return the number of the shard that answers a call."""
    stub: ShardServiceAsyncStub = ShardServiceStub(channel)
    info = await stub.GetInfo(shard_pb2.GetInfoRequest(), metadata=header, timeout=10)
    return info.shard_id


def make_sync_stub(channel: grpc.aio.Channel) -> SyncServiceAsyncStub:
    return sync_pb2_grpc.SyncServiceStub(channel)


def find_device(shard_id: int, shards: dict[int, str]) -> int:
    """Return the number of a device that a shard owns and that is not one of the SDK devices."""
    return next(
        n for n in count(DEVICE_COUNT) if placement.find_owner(device_id(n), shards) == shard_id
    )


@dataclass(frozen=True)
class SilentStream:
    """A stream without frames, as between two heartbeats of a device."""

    stream: SyncStream
    opened_at: float

    @classmethod
    async def open(cls, channel: grpc.aio.Channel, device: int) -> SilentStream:
        stream = SyncStream(make_sync_stub(channel).Sync(metadata=((HEADER, "1"),)))
        await stream.open(device)
        return cls(stream, asyncio.get_running_loop().time())

    async def wait_past_call_limit(self) -> None:
        """Wait until the stream is older than Envoy's time-out for calls; it must still work."""
        age = asyncio.get_running_loop().time() - self.opened_at
        await asyncio.sleep(ENVOY_ROUTE_SECONDS + 1 - age)
        assert (await self.stream.push(1)).through_seq == 1


async def read_refusal(channel: grpc.aio.Channel, shard_id: int) -> tuple[grpc.StatusCode, str]:
    """Return the status and the pushback in ms of a stream to an unavailable shard."""
    call = make_sync_stub(channel).Sync(metadata=((HEADER, str(shard_id)),))
    status = await SyncStream(call).wait_for_status()
    trailers = {str(key): str(value) for key, value in await call.trailing_metadata() or ()}
    return status, trailers["grpc-retry-pushback-ms"]


async def is_reachable(channel: grpc.aio.Channel, method: str) -> bool:
    """Return whether an empty call reaches a service."""
    ask: Any = channel.unary_stream(method)
    call = ask(b"", timeout=10)
    return await SyncStream(call).wait_for_status() is not grpc.StatusCode.UNIMPLEMENTED


async def wait_for_progress(devices: Sequence[SdkDevice]) -> None:
    """Return once each device has had two more deltas acked."""
    goals = [(device, device.outbox.last_acked_seq + 2) for device in devices]

    async def is_reached() -> bool:
        return all(device.outbox.last_acked_seq >= goal for device, goal in goals)

    await wait_until(is_reached)


async def stop_shards(*shards: ShardProcess) -> None:
    for shard in shards:
        shard.process.terminate()
    assert [(await shard.wait_for_exit()).status for shard in shards] == [0] * len(shards)


async def test_envoy_accepts_the_committed_file() -> None:
    finished = await validate_config(CONFIG)

    assert (finished.status, finished.err) == (0, "")
    assert finished.out.endswith("OK\n")


async def test_the_commented_tls_block_needs_only_a_certificate(tmp_path: Path) -> None:
    block = re.compile(r"^      # (transport_socket:\n(?:      #   .*\n)+)", re.MULTILINE)
    text = CONFIG.read_text()
    (commented,) = block.finditer(text)
    live = commented.group().replace("      # ", "      ")
    with_tls = tmp_path / "envoy.yaml"
    with_tls.write_text(text.replace(commented.group(), live.replace("/etc/envoy", str(tmp_path))))
    (tmp_path / "tls").mkdir()

    finished = await validate_config(with_tls)

    assert finished.status == 1
    assert f"{tmp_path}/tls/tls." in finished.err


async def test_calls_go_to_the_shard_in_their_header(
    deployment: EnvoyDeployment, channel: grpc.aio.Channel
) -> None:
    async with run_both_shards(deployment):
        named = [await fetch_shard_id(channel, (HEADER, str(each % 2))) for each in range(6)]
        unnamed = {await fetch_shard_id(channel) for _ in range(6)}
        unknown = {await fetch_shard_id(channel, (HEADER, "7")) for _ in range(6)}

    assert named == [0, 1, 0, 1, 0, 1]
    assert unnamed == {0, 1}
    assert unknown == {0, 1}


async def test_the_front_door_rejects_the_calls_of_operators(
    deployment: EnvoyDeployment, channel: grpc.aio.Channel
) -> None:
    async with run_both_shards(deployment):
        through = {
            method
            for method in (*DEVICE_METHODS, *OPERATOR_METHODS)
            if await is_reachable(channel, method)
        }
        async with grpc.aio.insecure_channel(deployment.shards[0]) as own:
            directly = {
                method
                for method in (*DEVICE_METHODS, *OPERATOR_METHODS)
                if await is_reachable(own, method)
            }

    assert through == set(DEVICE_METHODS)
    assert directly == {*DEVICE_METHODS, *OPERATOR_METHODS}


async def test_a_device_at_the_wrong_shard_is_redirected(
    deployment: EnvoyDeployment, channel: grpc.aio.Channel
) -> None:
    wrong = ((HEADER, "0"),)
    device = find_device(1, deployment.shards)
    async with run_both_shards(deployment):
        call = make_sync_stub(channel).Sync(metadata=wrong)
        stream = SyncStream(call)
        await stream.send(hello=make_hello(device))
        redirect: sync_pb2.Redirect = await stream.expect("redirect")
        unary = make_sync_stub(channel).Exchange(
            make_push(device, make_delta_message(1, [PatternSpec(1)])),
            metadata=wrong,
            timeout=10,
        )
        with pytest.raises(grpc.aio.AioRpcError):
            await unary

        assert await stream.wait_for_status() is grpc.StatusCode.OK
        assert (redirect.shard_id, redirect.address) == (1, deployment.envoy.address)
        assert await read_error_reason(unary) == "NOT_OWNER"


async def test_a_device_with_an_old_map_reaches_its_shard(deployment: EnvoyDeployment) -> None:
    async with (
        run_both_shards(deployment),
        open_devices([deployment.envoy.address], DEVICE_COUNT, QUICK) as fleet,
    ):
        for device in fleet:
            device.sync._route._shard_map = {0: deployment.envoy.address}  # without shard 1
            device.push_change()

        await flush_all(fleet)

        assert await are_all_connected(fleet)
        for shard_id, address in deployment.shards.items():
            own = select_devices(shard_id, deployment.shards, fleet)
            assert (await fetch_stats(address)).total_devices == len(own)


async def test_each_device_reaches_its_own_shard(deployment: EnvoyDeployment) -> None:
    async with (
        run_both_shards(deployment) as shards,
        open_devices([deployment.envoy.address], DEVICE_COUNT, QUICK) as fleet,
    ):
        async with push_continuously(fleet, PUSH_INTERVAL_SECONDS):
            await wait_for_progress(fleet)
        await flush_all(fleet)
        stats = [await fetch_stats(address) for address in deployment.shards.values()]
        await stop_shards(*shards)

        for shard_id, measured in enumerate(stats):
            own = select_devices(shard_id, deployment.shards, fleet)
            found = await read_stored(deployment.data_dir(shard_id), shard_id, fleet)
            assert len(own) > DEVICE_COUNT / 4
            assert (measured.total_devices, measured.streams) == (len(own), len(own))
            assert found == [device.expected_state() for device in own]
            assert measured.deltas_applied == count_deltas(found)


async def test_envoy_skips_a_killed_shard_until_it_is_back(
    deployment: EnvoyDeployment, channel: grpc.aio.Channel
) -> None:
    async with AsyncExitStack() as stack:
        shards = await stack.enter_async_context(run_both_shards(deployment))
        fleet = await stack.enter_async_context(
            open_devices([deployment.envoy.address], DEVICE_COUNT, QUICK)
        )
        lost, kept = (select_devices(each, deployment.shards, fleet) for each in deployment.shards)
        silent = await SilentStream.open(channel, find_device(1, deployment.shards))
        async with push_continuously(fleet, PUSH_INTERVAL_SECONDS):
            await wait_for_progress(fleet)

            shards[0].process.kill()

            assert (await shards[0].wait_for_exit()).status == -signal.SIGKILL
            await deployment.wait_for_routes(deployment.clusters_without(0))
            await wait_until(lambda: are_all_disconnected(lost))
            await wait_for_progress(kept)
            assert {await fetch_shard_id(channel) for _ in range(4)} == {1}
            assert await read_refusal(channel, 0) == (grpc.StatusCode.UNAVAILABLE, "1000")
            survived = count_deltas(await read_stored(deployment.data_dir(0), 0, fleet))
            again = await stack.enter_async_context(deployment.run_shard(0))
            await deployment.wait_for_routes(deployment.all_clusters)
        await flush_all(fleet)
        assert await are_all_connected(kept)
        await silent.wait_past_call_limit()
        applied = (await fetch_stats(again.address)).deltas_applied
        await stop_shards(again, shards[1])

        found = [
            await read_stored(deployment.data_dir(each), each, fleet) for each in deployment.shards
        ]
        assert found == [[device.expected_state() for device in each] for each in (lost, kept)]
        assert applied == count_deltas(found[0]) - survived


async def test_a_draining_shard_gets_no_new_streams_and_keeps_its_open_ones(
    deployment: EnvoyDeployment,
) -> None:
    async with (
        run_both_shards(deployment, drain_seconds=DRAIN_SECONDS) as shards,
        open_devices([deployment.envoy.address], DEVICE_COUNT, QUICK) as fleet,
        push_continuously(fleet, PUSH_INTERVAL_SECONDS),
    ):
        await wait_for_progress(fleet)

        shards[0].process.terminate()

        await deployment.wait_for_routes(deployment.clusters_without(0))
        asked_last = [
            device
            for device in select_devices(0, deployment.shards, fleet)
            if device.sync.is_connected
        ]
        assert asked_last
        await wait_for_progress(select_devices(1, deployment.shards, fleet))
        assert (await shards[0].wait_for_exit()).status == 0
