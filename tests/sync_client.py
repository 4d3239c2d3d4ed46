"""A low-level client of SyncService, with which tests can break the rules of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2
from grpc_status.rpc_status import aio as rpc_status

from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc
from tests.deltas import PatternSpec, device_id, make_columns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

DEADLINE_SECONDS = 10.0


def make_hello(
    device: int = 0, *, incarnation: int = 1, last_acked_seq: int = 0, **more: Any
) -> pb.Hello:
    """Return the Hello of a device, by its number; `more` sets further fields."""
    return pb.Hello(
        device_id=device_id(device),
        incarnation=incarnation,
        last_acked_seq=last_acked_seq,
        **more,
    )


def make_push(number: int, *deltas: patterns.Delta, incarnation: int = 1) -> pb.ExchangeRequest:
    """Return the call by which a device sends deltas, and asks for nothing."""
    hello = make_hello(number, incarnation=incarnation)
    return pb.ExchangeRequest(hello=hello, deltas=deltas, skip_update=True)


def make_pull(number: int, **declared: Any) -> pb.ExchangeRequest:
    """Return the call by which a device that declares this asks for what is new."""
    return pb.ExchangeRequest(hello=make_hello(number, **declared))


def make_delta_message(  # noqa: PLR0913 - as many as a delta has parts
    seq: int,
    upserts: Sequence[PatternSpec] = (),
    removed_numbers: Sequence[int] = (),
    *,
    snapshot: bool = False,
    signals: Sequence[tuple[str, int]] = (),
    liked: Sequence[str] = (),
    withdrawn: Sequence[str] = (),
) -> patterns.Delta:
    """Return a delta message, with the arguments of `tests.deltas.make_delta`."""
    message = patterns.Delta(
        seq=seq,
        snapshot=snapshot,
        removed_ids=b"".join(PatternSpec(number).pattern_id for number in removed_numbers),
        liked_content_ids=liked,
        withdrawn_content_ids=withdrawn,
        signals=patterns.SignalColumns(
            content_ids=[content for content, _ in signals], hours=[hour for _, hour in signals]
        ),
    )
    if upserts:
        message.upserts.CopyFrom(to_columns(upserts))
    return message


def to_columns(upserts: Sequence[PatternSpec]) -> patterns.PatternColumns:
    """Return patterns as the columns of a message."""
    batch = make_columns(upserts)
    return patterns.PatternColumns(
        ids=batch.ids,
        encoding=int(batch.encoding),  # type: ignore[arg-type]  # enums are ints
        embeddings=batch.embeddings,
        success_rates=batch.success_rates,
        sample_counts=batch.sample_counts,
        times_of_day=batch.times_of_day,
        day_types=batch.day_types,
        content_types=batch.content_types,
        created_at=batch.created_at,
        updated_at=batch.updated_at,
        genres=batch.genres,
        genre_counts=batch.genre_counts,
        genre_indexes=batch.genre_indexes,
        content_ids=batch.content_ids,
        content_counts=batch.content_counts,
        content_indexes=batch.content_indexes,
    )


class SyncStream:
    """One Sync stream of a device, frame by frame."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self._has_sent_bye = False

    async def send(self, **frame: Any) -> None:
        self._has_sent_bye |= "bye" in frame
        await self.call.write(pb.SyncRequest(**frame))

    async def receive(self) -> pb.SyncResponse | None:
        """Return the next frame, or None at the end; raise AioRpcError if the stream failed."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            frame = await self.call.read()
        return None if frame is grpc.aio.EOF else frame

    async def expect(self, kind: str) -> Any:
        """Return the next frame of a kind. Skip other frames, but acknowledge global updates."""
        while (frame := await self.receive()) is not None:
            if frame.WhichOneof("frame") == kind:
                return getattr(frame, kind)
            if frame.HasField("global_update") and not self._has_sent_bye:  # nothing follows a Bye
                await self.acknowledge(frame.global_update)
        raise AssertionError(f"the stream ended without {kind}: {await self.call.code()}")

    async def expect_similar(self) -> patterns.GlobalUpdate:
        """Return the next global update that contains similar patterns; skip empty ones."""
        while True:
            update: patterns.GlobalUpdate = await self.expect("global_update")
            if update.similar.ids:
                return update
            await self.acknowledge(update)

    async def acknowledge(self, update: patterns.GlobalUpdate) -> None:
        """Acknowledge a global update; the shard sends the next one only after that."""
        await self.send(global_ack=pb.GlobalAck(nonce=update.nonce, version=update.version))

    async def open(self, device: int = 0, **more: Any) -> pb.Welcome:
        """Send Hello for a device, by its number, and return the Welcome."""
        await self.send(hello=make_hello(device, **more))
        welcome: pb.Welcome = await self.expect("welcome")
        return welcome

    async def push(self, seq: int, *args: Any, **more: Any) -> patterns.DeltaAck:
        """Send a delta and return the next ack."""
        await self.send(delta=make_delta_message(seq, *args, **more))
        ack: patterns.DeltaAck = await self.expect("delta_ack")
        return ack

    async def wait_for_status(self) -> grpc.StatusCode:
        """Read to the end of the stream, and return its status."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await self.receive() is not None:
                pass
        code: grpc.StatusCode = await self.call.code()
        return code


@asynccontextmanager
async def open_stream(
    channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[SyncStream]:
    """Open a Sync stream, and cancel it when the block is left."""
    call = sync_pb2_grpc.SyncServiceStub(channel).Sync(metadata=tuple(metadata))
    try:
        yield SyncStream(call)
    finally:
        call.cancel()


async def read_error_reason(call: Any) -> str:
    """Return the reason in the ErrorInfo of a failed call."""
    status = await rpc_status.from_call(call)
    return get_error_reason(status)


def get_error_reason(status: Any) -> str:
    """Return the reason in the only ErrorInfo of a google.rpc.Status."""
    infos = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            infos.append(info)
    assert len(infos) == 1
    assert infos[0].domain == "constellation"
    reason: str = infos[0].reason
    return reason
