"""The front door: the committed Envoy, two real shards behind it, fifty SDK boxes in front."""

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
from tests.deltas import Pattern, device_id
from tests.deploy.envoy import CONFIG, FrontDoor, front_door, validated
from tests.polling import eventually
from tests.scenarios.processes import Serving, serving
from tests.scenarios.sdk_devices import (
    Box,
    all_connected,
    boxes,
    boxes_of,
    deltas_in,
    flush,
    free_address,
    none_connected,
    pushing,
    stats_of,
    stored_in,
)
from tests.sync_client import Stream, hello, reason_of, to_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub
    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub

BOXES = 50
EVERY_SECONDS = 0.5
"""Each box pushes this often."""
ENVOY_ROUTE_SECONDS = 15.0
"""After which Envoy ends a call, where nothing else is said."""
DRAIN_SECONDS = 6.0
"""Longer than it takes a health check to find out."""
QUICK = SyncSettings(backoff_base_seconds=0.1, backoff_cap_seconds=1.0)
HEADER = "x-constellation-shard"
OF_DEVICES = (
    "/constellation.v1.ShardService/ListShards",
    "/constellation.v1.SyncService/GetSyncVersion",
    "/grpc.health.v1.Health/Check",
)
OF_OPERATORS = (
    "/constellation.v1.ShardService/ListDevices",
    "/constellation.v1.ShardService/SearchPatterns",
    "/constellation.v1.ProcessService/SetLogLevel",
    "/constellation.v1.AggregateService/PullAggregate",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)


@dataclass(frozen=True)
class Place:
    """Where the system under test runs."""

    front: FrontDoor
    shards: dict[int, str]
    """The shards' own addresses, which devices never see."""
    folder: Path

    @property
    def everywhere(self) -> dict[str, set[str]]:
        """The clusters while every shard is ready."""
        alone = {f"shard_{shard_id}": {at} for shard_id, at in self.shards.items()}
        return {**alone, "any_shard": set(self.shards.values())}

    def without(self, shard_id: int) -> dict[str, set[str]]:
        """Return the clusters while a shard is not ready."""
        gone = {self.shards[shard_id]}
        return {name: ready - gone for name, ready in self.everywhere.items()}

    def data_dir(self, shard_id: int) -> Path:
        return self.folder / f"shard-{shard_id}"

    @asynccontextmanager
    async def serve(self, shard_id: int, **settings: object) -> AsyncIterator[Serving]:
        """Run a shard whose map names the front door for every shard."""
        named = dict.fromkeys(self.shards, self.front.address)
        async with serving(
            self.data_dir(shard_id),
            shard_id=shard_id,
            shard_map=placement.format_map(named),
            grpc_addr=self.shards[shard_id],
            **settings,
        ) as shard:
            yield shard

    async def routes(self, clusters: dict[str, set[str]]) -> None:
        """Return once Envoy sends to these shards."""

        async def so() -> bool:
            return await self.front.ready() == clusters

        await eventually(so)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    shards = {0: free_address(), 1: free_address()}
    async with front_door(shards, tmp_path) as front:
        yield Place(front, shards, tmp_path)


@pytest.fixture
async def channel(place: Place) -> AsyncIterator[grpc.aio.Channel]:
    """A connection through the front door."""
    async with grpc.aio.insecure_channel(place.front.address) as channel:
        yield channel


@asynccontextmanager
async def both(place: Place, **settings: object) -> AsyncIterator[list[Serving]]:
    async with AsyncExitStack() as stack:
        shards = [
            await stack.enter_async_context(place.serve(each, **settings)) for each in place.shards
        ]
        await place.routes(place.everywhere)
        yield shards


async def answering(channel: grpc.aio.Channel, *header: tuple[str, str]) -> int:
    """Return the number of the shard that answers a call."""
    stub: ShardServiceAsyncStub = ShardServiceStub(channel)
    info = await stub.GetInfo(shard_pb2.GetInfoRequest(), metadata=header, timeout=10)
    return info.shard_id


def sync_stub(channel: grpc.aio.Channel) -> SyncServiceAsyncStub:
    return sync_pb2_grpc.SyncServiceStub(channel)


def device_of(shard_id: int, shards: dict[int, str]) -> int:
    """Return the number of a device that is no box, and that the map gives to a shard."""
    return next(n for n in count(BOXES) if placement.owner(device_id(n), shards) == shard_id)


@dataclass(frozen=True)
class SilentStream:
    """A stream on which nothing is said, as on a device's between two heartbeats."""

    stream: Stream
    opened: float

    @classmethod
    async def open(cls, channel: grpc.aio.Channel, device: int) -> SilentStream:
        stream = Stream(sync_stub(channel).Sync(metadata=((HEADER, "1"),)))
        await stream.open(device)
        return cls(stream, asyncio.get_running_loop().time())

    async def outlived_a_call(self) -> None:
        """Return once it is older than Envoy lets a call become, and still works."""
        age = asyncio.get_running_loop().time() - self.opened
        await asyncio.sleep(ENVOY_ROUTE_SECONDS + 1 - age)
        assert (await self.stream.push(1)).through_seq == 1


async def refusal(channel: grpc.aio.Channel, shard_id: int) -> tuple[grpc.StatusCode, str]:
    """Return how a stream to a shard ends that is away, and after how long to come again."""
    call = sync_stub(channel).Sync(metadata=((HEADER, str(shard_id)),))
    status = await Stream(call).status()
    trailers = {str(key): str(value) for key, value in await call.trailing_metadata() or ()}
    return status, trailers["grpc-retry-pushback-ms"]


async def is_had(channel: grpc.aio.Channel, method: str) -> bool:
    """Say whether an empty call reaches a service, whatever it answers."""
    ask: Any = channel.unary_stream(method)
    call = ask(b"", timeout=10)
    return await Stream(call).status() is not grpc.StatusCode.UNIMPLEMENTED


async def progress(fleet: Sequence[Box]) -> None:
    """Return once each box has had two more deltas acked."""
    goals = [(box, box.outbox.last_acked_seq + 2) for box in fleet]

    async def made() -> bool:
        return all(box.outbox.last_acked_seq >= goal for box, goal in goals)

    await eventually(made)


async def end(*shards: Serving) -> None:
    for shard in shards:
        shard.process.terminate()
    assert [(await shard.ended()).status for shard in shards] == [0] * len(shards)


async def test_envoy_takes_the_committed_file() -> None:
    finished = await validated(CONFIG)

    assert (finished.status, finished.err) == (0, "")
    assert finished.out.endswith("OK\n")


async def test_the_block_for_tls_lacks_nothing_but_the_certificate(tmp_path: Path) -> None:
    block = re.compile(r"^      # (transport_socket:\n(?:      #   .*\n)+)", re.MULTILINE)
    text = CONFIG.read_text()
    (commented,) = block.finditer(text)
    live = commented.group().replace("      # ", "      ")
    with_tls = tmp_path / "envoy.yaml"
    with_tls.write_text(text.replace(commented.group(), live.replace("/etc/envoy", str(tmp_path))))
    (tmp_path / "tls").mkdir()

    finished = await validated(with_tls)

    assert finished.status == 1
    assert f"{tmp_path}/tls/tls." in finished.err


async def test_calls_go_where_their_header_says(place: Place, channel: grpc.aio.Channel) -> None:
    async with both(place):
        named = [await answering(channel, (HEADER, str(each % 2))) for each in range(6)]
        unnamed = {await answering(channel) for _ in range(6)}
        unknown = {await answering(channel, (HEADER, "7")) for _ in range(6)}

    assert named == [0, 1, 0, 1, 0, 1]
    assert unnamed == {0, 1}
    assert unknown == {0, 1}


async def test_what_operators_ask_is_not_to_be_had_through_the_front_door(
    place: Place, channel: grpc.aio.Channel
) -> None:
    async with both(place):
        through = {
            method for method in (*OF_DEVICES, *OF_OPERATORS) if await is_had(channel, method)
        }
        async with grpc.aio.insecure_channel(place.shards[0]) as own:
            directly = {
                method for method in (*OF_DEVICES, *OF_OPERATORS) if await is_had(own, method)
            }

    assert through == set(OF_DEVICES)
    assert directly == {*OF_DEVICES, *OF_OPERATORS}


async def test_a_device_at_the_wrong_shard_is_sent_on(
    place: Place, channel: grpc.aio.Channel
) -> None:
    wrong = ((HEADER, "0"),)
    device = device_of(1, place.shards)
    async with both(place):
        call = sync_stub(channel).Sync(metadata=wrong)
        stream = Stream(call)
        await stream.send(hello=hello(device))
        redirect: sync_pb2.Redirect = await stream.expect("redirect")
        unary = sync_stub(channel).PushPatterns(
            sync_pb2.PushPatternsRequest(
                device_id=device_id(device), incarnation=1, delta=to_message(1, [Pattern(1)])
            ),
            metadata=wrong,
            timeout=10,
        )
        with pytest.raises(grpc.aio.AioRpcError):
            await unary

        assert await stream.status() is grpc.StatusCode.OK
        assert (redirect.shard_id, redirect.address) == (1, place.front.address)
        assert await reason_of(unary) == "NOT_OWNER"


async def test_a_box_with_an_old_map_ends_up_at_its_shard(place: Place) -> None:
    async with both(place), boxes([place.front.address], BOXES, QUICK) as fleet:
        for box in fleet:
            box.sync._route._shards = {0: place.front.address}  # before shard 1 was there
            box.push()

        await flush(fleet)

        assert await all_connected(fleet)
        for shard_id, address in place.shards.items():
            own = boxes_of(shard_id, place.shards, fleet)
            assert (await stats_of(address)).total_devices == len(own)


async def test_each_box_reaches_its_own_shard(place: Place) -> None:
    async with both(place) as shards, boxes([place.front.address], BOXES, QUICK) as fleet:
        async with pushing(fleet, EVERY_SECONDS):
            await progress(fleet)
        await flush(fleet)
        stats = [await stats_of(address) for address in place.shards.values()]
        await end(*shards)

        for shard_id, measured in enumerate(stats):
            own = boxes_of(shard_id, place.shards, fleet)
            found = await stored_in(place.data_dir(shard_id), fleet)
            assert len(own) > BOXES / 4
            assert (measured.total_devices, measured.streams) == (len(own), len(own))
            assert found == [box.expected() for box in own]
            assert measured.deltas_applied == deltas_in(found)


async def test_a_killed_shard_is_left_out_until_it_is_back(
    place: Place, channel: grpc.aio.Channel
) -> None:
    async with AsyncExitStack() as stack:
        shards = await stack.enter_async_context(both(place))
        fleet = await stack.enter_async_context(boxes([place.front.address], BOXES, QUICK))
        lost, kept = (boxes_of(each, place.shards, fleet) for each in place.shards)
        silent = await SilentStream.open(channel, device_of(1, place.shards))
        async with pushing(fleet, EVERY_SECONDS):
            await progress(fleet)

            shards[0].process.kill()

            assert (await shards[0].ended()).status == -signal.SIGKILL
            await place.routes(place.without(0))
            await eventually(lambda: none_connected(lost))
            await progress(kept)
            assert {await answering(channel) for _ in range(4)} == {1}
            assert await refusal(channel, 0) == (grpc.StatusCode.UNAVAILABLE, "1000")
            survived = deltas_in(await stored_in(place.data_dir(0), fleet))
            again = await stack.enter_async_context(place.serve(0))
            await place.routes(place.everywhere)
        await flush(fleet)
        assert await all_connected(kept)
        await silent.outlived_a_call()
        applied = (await stats_of(again.address)).deltas_applied
        await end(again, shards[1])

        found = [await stored_in(place.data_dir(each), fleet) for each in place.shards]
        assert found == [[box.expected() for box in each] for each in (lost, kept)]
        assert applied == deltas_in(found[0]) - survived


async def test_a_draining_shard_gets_nothing_new_and_keeps_what_it_has(place: Place) -> None:
    async with (
        both(place, drain_seconds=DRAIN_SECONDS) as shards,
        boxes([place.front.address], BOXES, QUICK) as fleet,
        pushing(fleet, EVERY_SECONDS),
    ):
        await progress(fleet)

        shards[0].process.terminate()

        await place.routes(place.without(0))
        asked_last = [box for box in boxes_of(0, place.shards, fleet) if box.sync.connected]
        assert asked_last
        await progress(boxes_of(1, place.shards, fleet))
        assert (await shards[0].ended()).status == 0
