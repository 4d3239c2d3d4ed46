"""ProcessService on a shard and on a federation: what a process logs, changed while it runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.v1 import process_pb2 as pb
from constellation.v1 import shard_pb2, shard_pb2_grpc
from constellation.v1.process_pb2_grpc import ProcessServiceStub
from tests.federation.fleet import get_address, run_federation
from tests.scenarios.processes import run_shard_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from constellation.server import RunningShard
    from constellation.v1.process_pb2 import LogLevel
    from constellation.v1.process_pb2_grpc import ProcessServiceAsyncStub


def make_stub(channel: grpc.aio.Channel) -> ProcessServiceAsyncStub:
    return ProcessServiceStub(channel)


async def set_level(channel: grpc.aio.Channel, level: LogLevel.ValueType) -> LogLevel.ValueType:
    """Return the level before."""
    return (await make_stub(channel).SetLogLevel(pb.SetLogLevelRequest(level=level))).previous_level


def parse_events(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        yield json.loads(line)


async def test_a_new_log_level_takes_effect_at_once(tmp_path: Path) -> None:
    async with run_shard_process(tmp_path) as shard:
        async with grpc.aio.insecure_channel(shard.address) as channel:
            before = await set_level(channel, pb.LOG_LEVEL_ERROR)
            after = (await make_stub(channel).GetLogLevel(pb.GetLogLevelRequest())).level
            drain: Any = shard_pb2_grpc.ShardServiceStub(channel)
            await drain.Drain(shard_pb2.DrainRequest())
        finished = await shard.wait_for_exit()

    assert (before, after) == (pb.LOG_LEVEL_INFO, pb.LOG_LEVEL_ERROR)
    assert finished.status == 0
    assert [line for line in parse_events(finished.err) if line["level"] == "info"] == []


async def test_a_federation_changes_its_log_level_as_well(shard: RunningShard) -> None:
    async with (
        run_federation([get_address(shard)]) as federation,
        grpc.aio.insecure_channel(get_address(federation)) as channel,
    ):
        first = await set_level(channel, pb.LOG_LEVEL_DEBUG)
        second = await set_level(channel, first)

    assert second == pb.LOG_LEVEL_DEBUG


@pytest.mark.parametrize("level", [0, 9])
async def test_a_level_that_is_none_is_refused(channel: grpc.aio.Channel, level: int) -> None:
    before = (await make_stub(channel).GetLogLevel(pb.GetLogLevelRequest())).level
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await set_level(channel, level)  # type: ignore[arg-type]  # what the wire can carry

    after = (await make_stub(channel).GetLogLevel(pb.GetLogLevelRequest())).level

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == f"level must be from 1 to 4, got {level}"
    assert before == after
