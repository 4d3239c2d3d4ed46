"""Somebody else sends deltas in the name of a device. The device must still sync afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from constellation_settop import Outbox, Sync, SyncSettings
from tests.clients.samples import make_learned_changes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.server import RunningShard

QUICK = SyncSettings(backoff_base_seconds=0.02, backoff_cap_seconds=0.1)
LAST = 2**63 - 1
OTHER = -1
"""Stands for an incarnation that is not the device's."""


@pytest.fixture
async def outbox() -> AsyncIterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


@pytest.mark.parametrize(
    "forged",
    [
        [(0, LAST)],
        [(OTHER, LAST)],
        [(OTHER, 1), (0, LAST - 1)],
        [(OTHER, 1), (0, 2**62)],
        [(OTHER, 1), (0, 2**21)],
        [(0, 2**20), (0, 2**21), (0, 3 * 2**20)],
    ],
)
async def test_a_device_whose_number_was_forged_syncs_again(
    shard: RunningShard, outbox: Outbox, forged: list[tuple[int, int]]
) -> None:
    address = f"127.0.0.1:{shard.port}"
    outbox.append(make_learned_changes(1, 2))
    async with Sync.open(address, outbox, QUICK) as sync:
        await sync.flush(10)
    async with grpc.aio.insecure_channel(address) as channel:
        for incarnation, seq in forged:
            hello = pb.Hello(
                device_id=outbox.device_id, incarnation=outbox.incarnation + incarnation
            )
            delta = patterns_pb2.Delta(seq=seq, snapshot=True)
            await SyncServiceStub(channel).Exchange(pb.ExchangeRequest(hello=hello, deltas=[delta]))

    for number in (3, 4):
        outbox.append(make_learned_changes(number))
        async with Sync.open(address, outbox, QUICK) as sync:
            await sync.flush(10)

    assert shard.manager.table.totals.patterns == 4
    assert shard.manager.table.totals.devices == 1
