"""Streams, Hello and every unary call of a device count as presence."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc
from tests.deltas import device_id
from tests.sync_client import make_push, open_stream

if TYPE_CHECKING:
    import grpc

    from constellation.server import RunningShard

_CALLS = {
    "Exchange": make_push(1, patterns.Delta(seq=9)),
    "GetSyncVersion": pb.GetSyncVersionRequest(device_id=device_id(1)),
}


def read_heard_at(shard: RunningShard) -> int:
    shard.manager.presence.settle((), time.time())
    table = shard.manager.table
    return int(table.heard_at[table.find_device(device_id(1))])


async def sync_once(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.open(1)
        await device.push(1)


def test_every_unary_call_is_tried() -> None:
    # GetCatalogue names no device: everybody's copy is the same.
    assert set(_CALLS) | {"Sync", "GetCatalogue"} == set(
        pb.DESCRIPTOR.services_by_name["SyncService"].methods_by_name
    )


@pytest.mark.parametrize("method", _CALLS)
async def test_a_unary_call_is_a_sign_of_life(
    shard: RunningShard, channel: grpc.aio.Channel, method: str
) -> None:
    await sync_once(channel)
    before = int(time.time())
    stub: Any = sync_pb2_grpc.SyncServiceStub(channel)

    await getattr(stub, method)(_CALLS[method])

    assert before <= read_heard_at(shard) <= time.time()


async def test_a_hello_is_a_sign_of_life(shard: RunningShard, channel: grpc.aio.Channel) -> None:
    await sync_once(channel)
    before = int(time.time())

    async with open_stream(channel) as device:
        await device.open(1)

        assert before <= read_heard_at(shard) <= time.time()
