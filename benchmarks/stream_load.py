"""A load of devices that keep a stream open, come back when it breaks, and ack updates.

`python -m benchmarks.stream_load PORT STREAMS CONNECTIONS` runs it in its own process until it is
killed. It prints a StreamEvent as one line of JSON whenever all streams have been opened once more,
and whenever all have received an update to one version of the global state.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import grpc
import uvloop

from benchmarks.delta_load import METHOD
from constellation.v1 import sync_pb2 as pb

_OPENING: Final = 64
"""Streams that are being opened at the same time."""
_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that has happened to all streams."""

    kind: Literal["opened", "updated"]
    at: float
    """On the clock of `time.monotonic`, which all processes of a machine share."""
    cpu_seconds: float
    """Processor time of this process until then."""
    update_hex: str = ""
    """The frame of the last update."""


class StreamLoad:
    """Devices, each with a stream."""

    def __init__(self, port: int, streams: int, connections: int) -> None:
        self._streams = streams
        self._channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS)
            for _ in range(connections)
        ]
        self._opening = asyncio.Semaphore(_OPENING)
        self._opened = 0
        self._updated: Counter[int] = Counter()
        """Updates that devices got, by version of the global state."""

    async def run(self) -> None:
        """Keep every stream open, until cancelled."""
        async with asyncio.TaskGroup() as devices:
            for number in range(self._streams):
                channel = self._channels[number % len(self._channels)]
                devices.create_task(self._keep_open(channel))

    async def _keep_open(self, channel: grpc.aio.Channel) -> None:
        device_id = uuid.uuid4().bytes
        hello = pb.SyncRequest(hello=pb.Hello(device_id=device_id, incarnation=1))
        frame = hello.SerializeToString()
        while True:
            try:
                async with self._opening:
                    call: Any = channel.stream_stream(METHOD)(wait_for_ready=True)
                    await call.write(frame)
                    await call.read()
                self._note_opened()
                await self._read_updates(call)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # the server is gone: come back at once

    async def _read_updates(self, call: Any) -> None:
        while (frame := await call.read()) is not grpc.aio.EOF:
            response = pb.SyncResponse.FromString(frame)
            if response.HasField("global_update"):
                update = response.global_update
                self._note_updated(update.version.version, frame)
                ack = pb.GlobalAck(nonce=update.nonce, version=update.version)
                await call.write(pb.SyncRequest(global_ack=ack).SerializeToString())

    def _note_opened(self) -> None:
        self._opened += 1
        if self._opened % self._streams == 0:
            _print(StreamEvent("opened", time.monotonic(), time.process_time()))

    def _note_updated(self, version: int, frame: bytes) -> None:
        self._updated[version] += 1
        if self._updated[version] == self._streams:
            _print(StreamEvent("updated", time.monotonic(), time.process_time(), frame.hex()))


def _print(event: StreamEvent) -> None:
    print(json.dumps(asdict(event)), flush=True)


async def _run(port: int, streams: int, connections: int) -> None:
    await StreamLoad(port, streams, connections).run()


if __name__ == "__main__":
    uvloop.run(_run(*map(int, sys.argv[1:])))
