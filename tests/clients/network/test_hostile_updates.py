"""A device refuses updates that cannot be applied, and bounds what it keeps of others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from constellation.v1 import sync_pb2 as pb
from constellation_settop.columns import MAX_SIMILAR
from tests.clients.network.hostile_frames import (
    DEADLINE_SECONDS,
    REFUSED_UPDATES,
    collect_acks,
    open_device,
)
from tests.clients.samples import (
    ShardModel,
    make_global_update,
    make_pattern,
)
from tests.clients.stub_shard import StubShard

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", REFUSED_UPDATES)
async def test_an_update_that_cannot_be_applied_is_refused_whole(case: str, tmp_path: Path) -> None:
    stub = StubShard(ShardModel(cursor=0))
    answers: asyncio.Queue[pb.GlobalAck] = asyncio.Queue()
    stub.stream_overrides = [collect_acks(answers, REFUSED_UPDATES[case])]
    async with open_device(stub, tmp_path) as device:
        answer = await asyncio.wait_for(answers.get(), DEADLINE_SECONDS)

        assert answer.error.code == 3  # INVALID_ARGUMENT
        assert not device.outbox.global_state.similar
        assert not device.outbox.global_state.trends


async def test_what_a_device_keeps_of_others_is_bounded(tmp_path: Path) -> None:
    """A shard that only ever adds is refused once the device is full."""
    stub, batch = StubShard(ShardModel(cursor=0)), 400
    updates = [
        make_global_update(
            [make_pattern(number) for number in range(start, start + batch)], start + 1
        )
        for start in range(0, 3 * batch, batch)
    ]
    for position, update in enumerate(updates):
        update.similar_count = batch * (position + 1)
    frames = [pb.SyncResponse(global_update=update) for update in updates]
    answers: asyncio.Queue[pb.GlobalAck] = asyncio.Queue()
    stub.stream_overrides = [collect_acks(answers, *frames)]
    async with open_device(stub, tmp_path) as device:
        acks = [await asyncio.wait_for(answers.get(), DEADLINE_SECONDS) for _ in frames]

        assert [ack.HasField("error") for ack in acks] == [False, False, True]
        assert len(device.outbox.global_state.similar) == 2 * batch <= MAX_SIMILAR
