"""A device that writes while the shard ends its stream learns the reason, however it ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2

from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.sync_client import get_error_reason, make_delta_message, make_hello

if TYPE_CHECKING:
    from google.rpc import status_pb2

    from constellation.server import RunningShard

STREAMS = 64
MALFORMED = [pb.SyncRequest()]
OUT_OF_ORDER = [pb.SyncRequest(hello=make_hello(0)), pb.SyncRequest(hello=make_hello(0))]
UNACKED = [pb.SyncRequest(delta=make_delta_message(seq, [PatternSpec(1)])) for seq in range(3, 99)]


class WritingDevice:
    """A device that writes as fast as it can, and keeps the last frame that it reads."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.error: status_pb2.Status | None = None
        self.is_welcome = asyncio.Event()
        self.call: Any = sync_pb2_grpc.SyncServiceStub(channel).Sync()

    async def run(self, number: int, bad_frames: list[pb.SyncRequest]) -> None:
        """Send deltas, then what the shard refuses, then heartbeats, until the stream ends."""
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._write(number, bad_frames)

    async def _write(self, number: int, bad_frames: list[pb.SyncRequest]) -> None:
        await self.call.write(pb.SyncRequest(hello=make_hello(number)))
        for seq in (1, 2):
            delta = make_delta_message(seq, [PatternSpec(seq)])
            await self.call.write(pb.SyncRequest(delta=delta))
        for frame in bad_frames:
            await self.call.write(frame)
        while True:
            await self.call.write(pb.SyncRequest(heartbeat=pb.Heartbeat()))

    async def _read(self) -> None:
        with suppress(grpc.aio.AioRpcError):
            async for frame in self.call:
                assert self.error is None, "a frame came after the last one"
                if frame.HasField("error"):
                    self.error = frame.error
                if frame.HasField("welcome"):
                    self.is_welcome.set()


async def run_devices(port: int, bad_frames: list[pb.SyncRequest]) -> list[WritingDevice]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        devices = [WritingDevice(channel) for _ in range(STREAMS)]
        async with asyncio.TaskGroup() as tasks:
            for number, device in enumerate(devices):
                tasks.create_task(device.run(number, bad_frames))
    return devices


def list_reasons(devices: list[WritingDevice]) -> set[str]:
    return {get_error_reason(device.error) if device.error else "none" for device in devices}


@pytest.mark.parametrize(
    ("bad_frames", "reason"),
    [
        (MALFORMED, "INVALID_INPUT"),
        (OUT_OF_ORDER, "OUT_OF_ORDER"),
    ],
)
async def test_a_frame_that_ends_a_stream_is_explained(
    shard: RunningShard, bad_frames: list[pb.SyncRequest], reason: str
) -> None:
    devices = await run_devices(shard.port, bad_frames)

    assert list_reasons(devices) == {reason}


async def test_a_delta_too_many_is_explained(shard: RunningShard) -> None:
    async with shard.manager.committer.write_lock:  # nothing is acked
        devices = await run_devices(shard.port, UNACKED)

    assert list_reasons(devices) == {"TOO_MANY_INFLIGHT"}


async def test_a_shard_without_room_says_so_and_when_to_come_back() -> None:
    async with run_shard(max_streams=1) as shard:
        devices = await run_devices(shard.port, MALFORMED)

    reasons = list_reasons(devices)
    assert "SHARD_FULL" in reasons
    assert reasons <= {"SHARD_FULL", "INVALID_INPUT"}
    retry = error_details_pb2.RetryInfo()
    for device in devices:
        assert device.error is not None
        if get_error_reason(device.error) == "SHARD_FULL":
            assert any(detail.Unpack(retry) for detail in device.error.details)
            assert retry.retry_delay.seconds == 5


async def test_what_ends_a_stream_from_elsewhere_is_explained(shard: RunningShard) -> None:
    """A stream may end because of another one, or of an operator, and not of its own frames."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel:
        devices = [WritingDevice(channel) for _ in range(STREAMS)]
        async with asyncio.TaskGroup() as tasks:
            for number, device in enumerate(devices):
                tasks.create_task(device.run(number, []))
            for number, device in enumerate(devices):
                await device.is_welcome.wait()
                shard.streams.end_stream_of(device_id(number))

    assert list_reasons(devices) == {"NOT_READY"}
