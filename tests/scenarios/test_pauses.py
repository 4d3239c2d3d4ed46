"""A process that was stopped and continued judges no device by its own pause."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import grpc

from tests.scenarios.processes import run_shard_process, wait_for_event
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from tests.sync_client import SyncStream

_DEVICES = 10
_HEARTBEATS_AFTERWARDS = 8
"""As many as take longer than the two heartbeat intervals after which a silent device is cut."""


async def test_a_stopped_and_continued_shard_cuts_no_device_that_kept_beating() -> None:
    async with (
        run_shard_process(heartbeat_seconds=1) as shard,
        grpc.aio.insecure_channel(shard.address) as channel,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as tasks,
    ):
        streams = [await stack.enter_async_context(open_stream(channel)) for _ in range(_DEVICES)]
        for number, stream in enumerate(streams):
            await stream.open(number)
        beating = [tasks.create_task(_send_heartbeats(stream)) for stream in streams]
        await asyncio.gather(*(stream.expect("heartbeat") for stream in streams))

        os.kill(shard.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(6)  # the pause itself
        finally:
            os.kill(shard.process.pid, signal.SIGCONT)

        noticed = await wait_for_event(shard.process, "process_paused")
        assert 5 < noticed["seconds"] < 10
        for _ in range(_HEARTBEATS_AFTERWARDS):  # fails when the shard has ended a stream
            await asyncio.gather(*(stream.expect("heartbeat") for stream in streams))
        for task in beating:
            task.cancel()


async def _send_heartbeats(stream: SyncStream) -> None:
    """Beat every 0.3 seconds, as a device does whether the shard answers or not."""
    while True:
        await stream.send(heartbeat={})
        await asyncio.sleep(0.3)
