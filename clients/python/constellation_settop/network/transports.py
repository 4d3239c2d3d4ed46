"""Two ways to carry a session's frames: the Sync stream, and its unary twins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import grpc

from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from constellation_settop.network.hello import build_pull_request

if TYPE_CHECKING:
    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub
    from constellation_settop.network.session import DeviceSession
    from constellation_settop.storage.outbox import Outbox

Metadata = Sequence[tuple[str, str]]

WRITE_TIMEOUT_SECONDS: Final = 60.0
BYE_TIMEOUT_SECONDS: Final = 5.0
"""How long the shard may take to end a stream after our Bye."""
UNARY_TIMEOUT_SECONDS: Final = 30.0

_SyncCall = grpc.aio.StreamStreamCall[pb.SyncRequest, pb.SyncResponse]


async def run_stream(
    channel: grpc.aio.Channel, session: DeviceSession, metadata: Metadata, wake: asyncio.Event
) -> None:
    """Carry frames until the session is over; set `wake` when there is something to send.

    Raises AioRpcError as the call ended, and StorageError.
    """
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    call = stub.Sync(metadata=tuple(metadata))
    session.start(_now())
    reader = asyncio.create_task(_read_frames(call, session, wake), name="sync_reader")
    try:
        await _write_frames(call, session, wake, reader)
    finally:
        call.cancel()  # a call that has ended stays as it is
        await asyncio.wait({reader})
        failure = None if reader.cancelled() else reader.exception()
    if failure is not None:
        raise failure


async def _read_frames(call: _SyncCall, session: DeviceSession, wake: asyncio.Event) -> None:
    """Never cancelled while the call lives: a cancelled read loses a frame."""
    try:
        while isinstance(frame := await call.read(), pb.SyncResponse):
            session.receive(frame, _now())
            wake.set()
    finally:
        wake.set()


async def _write_frames(
    call: _SyncCall, session: DeviceSession, wake: asyncio.Event, reader: asyncio.Task[None]
) -> None:
    while not reader.done():
        wake.clear()
        session.check_timeouts(_now())
        if session.final_outcome is not None:
            return
        try:
            for frame in session.take_frames(_now()):
                async with asyncio.timeout(
                    WRITE_TIMEOUT_SECONDS
                ):  # when it fires, the call is over
                    await call.write(frame)
            if session.has_sent_bye:
                await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            session.has_sent_bye = True  # the reader knows why
        if session.has_sent_bye:
            await asyncio.wait({reader}, timeout=BYE_TIMEOUT_SECONDS)
            return
        await _wait_for_event(wake, session.next_wake_time(_now()) - _now())


async def _wait_for_event(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        pass


async def run_unary(channel: grpc.aio.Channel, session: DeviceSession, metadata: Metadata) -> None:
    """Carry the frames of a session that leaves when done, one call for each."""
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    hello = pb.Hello()
    session.start(_now())
    while session.final_outcome is None and not session.has_sent_bye:
        frames = session.take_frames(_now())
        if not frames:
            return
        for frame in frames:
            if frame.HasField("hello"):
                hello = frame.hello
            response = await _call_unary(stub, frame, hello, tuple(metadata))
            if response is not None:
                session.receive(response, _now())


async def _call_unary(
    stub: SyncServiceAsyncStub,
    frame: pb.SyncRequest,
    hello: pb.Hello,
    metadata: tuple[tuple[str, str], ...],
) -> pb.SyncResponse | None:
    if frame.HasField("hello"):
        registration = await stub.RegisterDevice(
            pb.RegisterDeviceRequest(hello=hello), timeout=UNARY_TIMEOUT_SECONDS, metadata=metadata
        )
        return pb.SyncResponse(welcome=registration.welcome)
    if frame.HasField("delta"):
        request = pb.PushPatternsRequest(
            device_id=hello.device_id, incarnation=hello.incarnation, delta=frame.delta
        )
        push = await stub.PushPatterns(request, timeout=UNARY_TIMEOUT_SECONDS, metadata=metadata)
        return pb.SyncResponse(delta_ack=push.ack)
    return None


async def pull(
    channel: grpc.aio.Channel, session: DeviceSession, outbox: Outbox, metadata: Metadata
) -> None:
    """Ask for the change against what the device holds, and apply it."""
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    response = await stub.PullPatterns(
        build_pull_request(outbox), timeout=UNARY_TIMEOUT_SECONDS, metadata=tuple(metadata)
    )
    session.receive(pb.SyncResponse(global_update=response.update), _now())


def _now() -> float:
    return asyncio.get_running_loop().time()
