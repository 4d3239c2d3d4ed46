"""Two ways to carry a session's frames: the Sync stream, and its unary twins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import grpc

from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from constellation_settop.network.hello import pull_of

if TYPE_CHECKING:
    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub
    from constellation_settop.network.session import Session
    from constellation_settop.storage.outbox import Outbox

Metadata = Sequence[tuple[str, str]]

STUCK_WRITE_SECONDS: Final = 60.0
FAREWELL_SECONDS: Final = 5.0
"""How long the shard may take to end a stream after our Bye."""
UNARY_SECONDS: Final = 30.0

_SyncCall = grpc.aio.StreamStreamCall[pb.SyncRequest, pb.SyncResponse]


async def run_stream(
    channel: grpc.aio.Channel, session: Session, metadata: Metadata, wake: asyncio.Event
) -> None:
    """Carry frames until the session is over; set `wake` when there is something to send.

    Raises AioRpcError as the call ended, and StorageError.
    """
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    call = stub.Sync(metadata=tuple(metadata))
    session.open(_now())
    reader = asyncio.create_task(_read(call, session, wake), name="sync_reader")
    try:
        await _write(call, session, wake, reader)
    finally:
        call.cancel()  # a call that has ended stays as it is
        await asyncio.wait({reader})
        failure = None if reader.cancelled() else reader.exception()
    if failure is not None:
        raise failure


async def _read(call: _SyncCall, session: Session, wake: asyncio.Event) -> None:
    """Never cancelled while the call lives: a cancelled read loses a frame."""
    try:
        while isinstance(frame := await call.read(), pb.SyncResponse):
            session.receive(frame, _now())
            wake.set()
    finally:
        wake.set()


async def _write(
    call: _SyncCall, session: Session, wake: asyncio.Event, reader: asyncio.Task[None]
) -> None:
    while not reader.done():
        wake.clear()
        session.check(_now())
        if session.over is not None:
            return
        try:
            for frame in session.take(_now()):
                async with asyncio.timeout(STUCK_WRITE_SECONDS):  # when it fires, the call is over
                    await call.write(frame)
            if session.parted:
                await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            session.parted = True  # the reader knows why
        if session.parted:
            await asyncio.wait({reader}, timeout=FAREWELL_SECONDS)
            return
        await _wait(wake, session.wake_at(_now()) - _now())


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        pass


async def run_unary(channel: grpc.aio.Channel, session: Session, metadata: Metadata) -> None:
    """Carry the frames of a session that leaves when done, one call for each."""
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    hello = pb.Hello()
    session.open(_now())
    while session.over is None and not session.parted:
        frames = session.take(_now())
        if not frames:
            return
        for frame in frames:
            if frame.HasField("hello"):
                hello = frame.hello
            answer = await _call(stub, frame, hello, tuple(metadata))
            if answer is not None:
                session.receive(answer, _now())


async def _call(
    stub: SyncServiceAsyncStub,
    frame: pb.SyncRequest,
    hello: pb.Hello,
    metadata: tuple[tuple[str, str], ...],
) -> pb.SyncResponse | None:
    if frame.HasField("hello"):
        registration = await stub.RegisterDevice(
            pb.RegisterDeviceRequest(hello=hello), timeout=UNARY_SECONDS, metadata=metadata
        )
        return pb.SyncResponse(welcome=registration.welcome)
    if frame.HasField("delta"):
        request = pb.PushPatternsRequest(
            device_id=hello.device_id, incarnation=hello.incarnation, delta=frame.delta
        )
        push = await stub.PushPatterns(request, timeout=UNARY_SECONDS, metadata=metadata)
        return pb.SyncResponse(delta_ack=push.ack)
    return None


async def pull(
    channel: grpc.aio.Channel, session: Session, outbox: Outbox, metadata: Metadata
) -> None:
    """Ask for the change against what the device holds, and apply it."""
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    response = await stub.PullPatterns(
        pull_of(outbox), timeout=UNARY_SECONDS, metadata=tuple(metadata)
    )
    session.receive(pb.SyncResponse(global_update=response.update), _now())


def _now() -> float:
    return asyncio.get_running_loop().time()
