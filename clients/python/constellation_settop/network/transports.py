"""The Sync stream as the transport of a session's frames."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import grpc

from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from constellation_settop.network.times import read_clock

if TYPE_CHECKING:
    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub
    from constellation_settop.network.session import DeviceSession

Metadata = Sequence[tuple[str, str]]

WRITE_TIMEOUT_SECONDS: Final = 60.0
"""How long the shard may leave one frame unread before the stream counts as broken."""
BYE_TIMEOUT_SECONDS: Final = 5.0
"""How long the shard may take to end a stream after the device's Bye."""

_SyncCall = grpc.aio.StreamStreamCall[pb.SyncRequest, pb.SyncResponse]


async def run_stream(
    channel: grpc.aio.Channel, session: DeviceSession, metadata: Metadata, wake: asyncio.Event
) -> None:
    """Carry the frames of a session over one stream until the session ends.

    The caller sets `wake` when the outbox has something new to send. Raises AioRpcError when the
    call fails without a reason in the session's `failure`, and StorageError when the outbox cannot
    be written.
    """
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    call = stub.Sync(metadata=tuple(metadata))
    session.start(read_clock())
    reader = asyncio.create_task(_read_frames(call, session, wake), name="sync_reader")
    try:
        await _write_frames(call, session, wake, reader)
    finally:
        call.cancel()  # no effect on a call that has ended
        await asyncio.wait({reader})
        failure = None if reader.cancelled() else reader.exception()
    if isinstance(failure, grpc.aio.AioRpcError) and session.failure is not None:
        return  # the session knows the status with which the shard ends the stream
    if failure is not None:
        raise failure


async def _read_frames(call: _SyncCall, session: DeviceSession, wake: asyncio.Event) -> None:
    """Read until the call ends. Do not cancel it before: a cancelled read loses a frame.

    The call is iterated over, because `call.read` returns nothing more once a write has failed: the
    frame in which the shard says why the stream ends would be lost.
    """
    try:
        async for frame in call:
            if frame is None:
                return  # gRPC's result for bytes that are no message of the type
            session.receive(frame, read_clock())
            wake.set()
    finally:
        wake.set()


async def _write_frames(
    call: _SyncCall, session: DeviceSession, wake: asyncio.Event, reader: asyncio.Task[None]
) -> None:
    while not reader.done():
        wake.clear()
        session.check_timeouts(read_clock())
        if session.final_outcome is not None:
            return
        try:
            for frame in session.take_frames(read_clock()):
                async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                    await call.write(frame)  # a write that is cancelled ends the call
            if session.has_sent_bye:
                await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            session.stop_sending()  # the reader raises the reason
        if session.has_sent_bye:
            await asyncio.wait({reader}, timeout=BYE_TIMEOUT_SECONDS)
            return
        await _wait_for_event(wake, session.next_wake_time(read_clock()) - read_clock())


async def _wait_for_event(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        pass
