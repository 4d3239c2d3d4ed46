"""Outgoing: frames that wait to be written to one stream, bounded by construction."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb

if TYPE_CHECKING:
    from constellation.core.deltas import Rejected
    from constellation.core.errors import ConstellationError


class Outgoing:
    """What one stream's writer takes, in order: control frames, the ack, the update, a heartbeat.

    Acks merge into one, a newer update replaces the waiting one, and a heartbeat goes only when
    nothing else does. Control frames are sent a handful of times in a stream's life.
    """

    def __init__(self) -> None:
        self._control: deque[pb.SyncResponse] = deque()
        self._ack: patterns.DeltaAck | None = None
        self._update: patterns.GlobalUpdate | None = None
        self._heartbeat = False
        self._last: pb.SyncResponse | None = None
        self._closed = False
        self.error: ConstellationError | None = None
        """What the stream must end with."""
        self.writing_since: float | None = None
        """When the write that is under way began; kept by the writer."""
        self._waiter: asyncio.Future[None] | None = None

    def control(self, frame: pb.SyncResponse) -> None:
        """Send a welcome, throttle, redirect or drain."""
        self._control.append(frame)
        self._wake()

    def ack(
        self,
        through_seq: int,
        expected_seq: int,
        *,
        resync_full: bool = False,
        rejected: list[patterns.Rejection] | None = None,
        signals_dropped: int = 0,
    ) -> None:
        """Send an ack, merged with the one that waits."""
        ack = self._ack
        if ack is None:
            ack = self._ack = patterns.DeltaAck()
        ack.through_seq = through_seq
        ack.expected_seq = expected_seq
        ack.resync_full = resync_full
        ack.signals_dropped += signals_dropped
        if rejected:
            ack.rejected.extend(rejected)
        self._wake()

    def update(self, update: patterns.GlobalUpdate) -> None:
        """Send an update, in place of the one that waits."""
        self._update = update
        self._wake()

    def heartbeat(self) -> None:
        """Send a heartbeat unless something else goes out."""
        self._heartbeat = True
        self._wake()

    def bye(self, reason: pb.ByeReason.ValueType) -> None:
        """Send what waits, then Bye, and end the stream in order."""
        self._last = pb.SyncResponse(bye=pb.Bye(reason=reason))
        self.close()

    def close(self) -> None:
        """Send what waits, then end the stream in order."""
        self._closed = True
        self._wake()

    def fail(self, error: ConstellationError) -> None:
        """End the stream with an error, before anything that still waits."""
        self.error = self.error or error
        self._wake()

    async def take(self) -> pb.SyncResponse | None:
        """Return the next frame; None when everything is sent and the stream is closed.

        Raises the error that the stream failed with.
        """
        while True:
            if self.error is not None:
                raise self.error
            frame = self._next()
            if frame is not None:
                return frame
            if self._closed:
                last, self._last = self._last, None
                return last
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _next(self) -> pb.SyncResponse | None:
        if self._control:
            return self._control.popleft()
        if self._ack is not None:
            ack, self._ack = self._ack, None
            self._heartbeat = False
            return pb.SyncResponse(delta_ack=ack)
        if self._update is not None:
            update, self._update = self._update, None
            self._heartbeat = False
            return pb.SyncResponse(global_update=update)
        if self._heartbeat:
            self._heartbeat = False
            return pb.SyncResponse(heartbeat=pb.Heartbeat())
        return None


def from_rejected(rejected: Rejected) -> patterns.Rejection:
    """Return one rejection."""
    return patterns.Rejection(
        seq=rejected.seq,
        pattern_id=rejected.pattern_id,
        reason=int(rejected.reason),  # type: ignore[arg-type]  # enums are ints
    )
