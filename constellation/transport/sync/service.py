"""SyncService: the devices' stream, whose rules are in session.py, and the unary methods."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc.aio import ServicerContext

from constellation.auth.principal import require_own_device
from constellation.errors import NotFoundError
from constellation.transport.calls.budgets import leave_turn
from constellation.transport.calls.interceptor import CallKind
from constellation.transport.codec.patterns import (
    check_device_id,
    from_version,
)
from constellation.transport.sync.catalogue_copies import (
    CatalogueCopies,
    to_held_digests,
    write_in_time,
)
from constellation.transport.sync.exchange import Exchanges
from constellation.transport.sync.greeting import Greeter
from constellation.transport.sync.outgoing import OutgoingFrames
from constellation.transport.sync.session import DeviceSession
from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from constellation.core.shard import ShardManager
    from constellation.transport.calls.counters import CallStats
    from constellation.transport.sync.limits import SessionLimits
    from constellation.transport.sync.outgoing import Frame, WriteFrame
    from constellation.transport.sync.streams import OpenStreams
    from constellation.transport.sync.updates import UpdateEncoder

SyncContext = ServicerContext[pb.SyncRequest, Any]

_SYNC_METHOD: Final = "/constellation.v1.SyncService/Sync"
_CANCEL_GRACE_SECONDS: Final = 0.01
"""How long to wait after an end without Bye: a cancellation arrives within a millisecond."""


def check_own_device_id(device_id: bytes) -> bytes:
    """Return the id of the calling device.

    Raises InvalidInputError when it is none, and PermissionDeniedError when it is another device's.
    """
    require_own_device(check_device_id(device_id))
    return device_id


class SyncServicer(sync_pb2_grpc.SyncServiceServicer):
    """Serves SyncService to devices."""

    def __init__(
        self,
        shard: ShardManager,
        limits: SessionLimits,
        streams: OpenStreams,
        calls: CallStats,
        encoder: UpdateEncoder,
    ) -> None:
        self._shard = shard
        self._stream_stats = calls.get_or_add(_SYNC_METHOD, CallKind.BIDI_STREAM)
        self._limits = limits
        self._streams = streams
        self._catalogue_copies = CatalogueCopies(shard.catalogue)
        self._greeter = Greeter(shard, limits, streams.guard)
        self._exchanges = Exchanges(self._greeter, encoder)

    async def Sync(self, request_iterator: Any, context: SyncContext) -> None:  # type: ignore[override]  # the stubs know generators only
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        outgoing = OutgoingFrames(self._count_writes(context.write), task.cancel)
        session = DeviceSession(self._greeter, self._streams, outgoing, loop.time())
        try:
            self._streams.add(session)
            await self._read_frames(session, context)
        except asyncio.CancelledError:
            if not outgoing.has_ended:
                raise  # the device or the server cancelled the call
            task.uncancel()
            if isinstance(outgoing.error, grpc.aio.BaseError):  # a write failed: the device left
                await asyncio.sleep(_CANCEL_GRACE_SECONDS)
            elif outgoing.error is not None:
                self._forget(session)
                await outgoing.wait_for_write()
                raise outgoing.error from None
        except Exception:
            self._forget(session)
            await outgoing.wait_for_write()
            raise
        finally:
            self._forget(session)

    async def Exchange(self, request: pb.ExchangeRequest, context: Any) -> bytes:  # type: ignore[override]  # encoded already
        return await self._exchanges.answer(request)

    async def GetCatalogue(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.GetCatalogueRequest, context: Any
    ) -> None:
        held = to_held_digests(request.bucket_digests)
        limit = self._limits.slow_reader_seconds
        with self._catalogue_copies.admit():
            await context.send_initial_metadata(())  # before a status that overtakes a response
            async for response in self._catalogue_copies.make_responses(held):
                async with leave_turn():
                    await write_in_time(context.write(response), limit)

    async def GetSyncVersion(
        self, request: pb.GetSyncVersionRequest, context: Any
    ) -> pb.GetSyncVersionResponse:
        device_id = check_own_device_id(request.device_id)
        self._shard.require_owned(device_id)
        self._shard.presence.note(device_id)
        cursor = self._shard.find_cursor(device_id)
        if cursor is None:
            raise NotFoundError(f"no device {device_id.hex()} has synced here")
        response = pb.GetSyncVersionResponse(incarnation=cursor.incarnation, through_seq=cursor.seq)
        response.global_version.CopyFrom(from_version(self._shard.global_state.version))
        return response

    def _forget(self, session: DeviceSession) -> None:
        session.outgoing.abandon()
        self._streams.remove(session)

    def _count_writes(self, write: WriteFrame) -> WriteFrame:
        """Return a function that counts a frame and writes it."""
        stats = self._stream_stats

        def write_and_count(frame: Frame) -> Coroutine[Any, None, None]:
            stats.sent += 1
            return write(frame)

        return write_and_count

    async def _read_frames(self, session: DeviceSession, context: SyncContext) -> None:
        """Pass frames to the session until the device stops sending."""
        loop, inbox = asyncio.get_running_loop(), self._shard.inbox
        read: Callable[[], Awaitable[Any]] = context.read  # the stubs do not know that EOF may come
        while (frame := await read()) is not grpc.aio.EOF:
            self._stream_stats.received += 1
            session.receive(frame, loop.time())
            if inbox.is_full:
                await inbox.wait_for_room()
        if not session.has_ended:  # broken: let the cancellation arrive before returning
            await asyncio.sleep(_CANCEL_GRACE_SECONDS)
        elif not session.outgoing.has_ended:  # the device stopped sending after its Bye
            await asyncio.Future()  # until the last frames are written
