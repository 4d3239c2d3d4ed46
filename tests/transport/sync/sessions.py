"""A shard's core with what its streams need, and streams without a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from constellation.core.rules import Rules
from constellation.transport.sync.greeting import Greeter
from constellation.transport.sync.outgoing import OutgoingFrames
from constellation.transport.sync.session import DeviceSession
from constellation.v1 import sync_pb2 as pb
from tests.core.shards import open_core
from tests.sync_client import DEADLINE_SECONDS, make_hello

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from constellation.core.shard import ShardManager
    from constellation.transport.sync.limits import SessionLimits
    from constellation.transport.sync.outgoing import Frame
    from constellation.transport.sync.streams import OpenStreams


def open_manager() -> AbstractAsyncContextManager[ShardManager]:
    """Open a shard's core in memory, with what runs beside it."""
    return open_core(rules=Rules(max_devices=100, max_patterns=1000, k_anonymity=1))


def decode_frame(frame: Frame) -> pb.SyncResponse:
    return pb.SyncResponse.FromString(frame) if isinstance(frame, bytes) else frame


class WrittenFrames:
    """Keeps what a session writes to its stream; a write completes at once."""

    def __init__(self) -> None:
        self.is_deaf = False
        """Whether the device reads nothing more, so that no write completes."""
        self.frames: list[pb.SyncResponse] = []
        """Decoded, if they were encoded."""
        self.ended = asyncio.Event()
        self.outgoing = OutgoingFrames(self._write, self.ended.set)
        self._written = asyncio.Event()

    @property
    def kinds(self) -> list[str | None]:
        return [frame.WhichOneof("frame") for frame in self.frames]

    def take_frames(self) -> list[pb.SyncResponse]:
        """Return what was written since the last call."""
        frames, self.frames = self.frames, []
        return frames

    async def wait_for_frames(self, count: int) -> None:
        """Return once so many frames are written."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(self.frames) < count:
                self._written.clear()
                await self._written.wait()

    async def _write(self, frame: Frame) -> None:
        if self.is_deaf:
            await asyncio.get_running_loop().create_future()
        self.frames.append(decode_frame(frame))
        self._written.set()


def open_session(
    manager: ShardManager, streams: OpenStreams, limits: SessionLimits, device: int | None = None
) -> tuple[DeviceSession, WrittenFrames]:
    """Open a session, and let a device say Hello on it unless there is none."""
    written = WrittenFrames()
    now = asyncio.get_running_loop().time()
    session = DeviceSession(Greeter(manager, limits, streams.guard), streams, written.outgoing, now)
    streams.add(session)
    if device is not None:
        session.receive(pb.SyncRequest(hello=make_hello(device)), now)
    return session, written
