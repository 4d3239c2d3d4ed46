"""OutgoingFrames: the frames that wait to be written to one stream, bounded by construction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from constellation.transport.codec.wire import (
    frame_message,
    frame_number,
    make_number_tag,
    make_tag,
)
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb

Frame = pb.SyncResponse | bytes
"""A frame, or its bytes when it is encoded already."""
WriteFrame = Callable[[Frame], Coroutine[Any, None, None]]
"""Writes one frame; returns once the transport has accepted it."""
_GLOBAL_UPDATE: Final = make_tag(pb.SyncResponse.GLOBAL_UPDATE_FIELD_NUMBER)
_NONCE: Final = make_number_tag(patterns.GlobalUpdate.NONCE_FIELD_NUMBER)


class OutgoingFrames:
    """Writes the frames of one stream in this order: control frames, ack, update, heartbeat, Bye.

    Acks that wait merge into one, a newer update replaces the waiting one, and a heartbeat is
    written only when no other frame is. There are only a few control frames in a stream's life.

    The class drives grpcio's write coroutine itself, one write at a time. A task that waits for
    frames would cost a fifth of the syncs, and memory for each idle stream (docs/decisions/0005).
    """

    def __init__(self, write: WriteFrame, on_end: Callable[[], object]) -> None:
        self.has_ended = False
        """True when nothing more is written: the stream was closed, failed or was abandoned."""
        self.error: BaseException | None = None
        """The error that a failed stream must end with."""
        self.writing_since: float | None = None
        """The loop time when the current write began; None when no write is under way."""
        self._write = write
        self._on_end = on_end
        self._pending_write: Coroutine[Any, None, None] | None = None
        self._write_end: asyncio.Future[None] | None = None
        """The future of whoever waits for the end of the current write; None when nobody does."""
        self._now = asyncio.get_running_loop().time
        self._control: deque[pb.SyncResponse] = deque()
        self._ack: pb.SyncResponse | None = None
        self._update: bytes | None = None
        self._heartbeat = False
        self._bye: pb.SyncResponse | None = None
        self._is_closing = False

    @property
    def has_pending_update(self) -> bool:
        """Whether an update waits that a newer one would replace."""
        return self._update is not None

    @property
    def waiting_rejections(self) -> int:
        """How many rejected patterns the ack that waits has."""
        return len(self._ack.delta_ack.rejected) if self._ack else 0

    def waiting_bytes(self) -> int:
        """Return the bytes of the frames that wait."""
        frames = (*self._control, self._ack, self._bye)
        size = sum(frame.ByteSize() for frame in frames if frame is not None)
        return size + len(self._update or b"")

    def send_control(self, frame: pb.SyncResponse) -> None:
        """Send a Welcome, Throttle, Redirect or Drain."""
        self._control.append(frame)
        self._wake()

    def send_ack(
        self,
        through_seq: int,
        expected_seq: int,
        *,
        full_resync: bool = False,
        rejected: list[patterns.Rejection] | None = None,
        signals_dropped: int = 0,
    ) -> None:
        """Send an ack, merged with the ack that waits."""
        if self._ack is None:
            self._ack = pb.SyncResponse()
        ack = self._ack.delta_ack
        ack.through_seq = through_seq
        ack.expected_seq = expected_seq
        ack.full_resync = full_resync
        if signals_dropped:
            ack.signals_dropped += signals_dropped
        if rejected:
            ack.rejected.extend(rejected)
        self._wake()

    def send_update(self, body: bytes, nonce: int) -> None:
        """Send an encoded GlobalUpdate without its nonce, in place of one that still waits."""
        self._update = frame_message(_GLOBAL_UPDATE, body + frame_number(_NONCE, nonce))
        self._wake()

    def send_heartbeat(self) -> None:
        """Send a heartbeat unless another frame is written first."""
        self._heartbeat = True
        self._wake()

    def send_bye(self, reason: pb.ByeReason.ValueType) -> None:
        """Write the frames that wait, then Bye, and end the stream with status OK."""
        self._bye = pb.SyncResponse(bye=pb.Bye(reason=reason))
        self.close()

    def close(self) -> None:
        """Write the frames that wait, then end the stream with status OK."""
        self._is_closing = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """End the stream with an error at once; the frames that wait are not written."""
        if not self.has_ended:
            self.error = error
            self._end()

    def forgive_pause(self, seconds: float, now: float) -> None:
        """Leave a pause of this process, until `now`, out of the time of the current write."""
        if self.writing_since is not None:
            self.writing_since = min(now, self.writing_since + seconds)

    def abandon(self) -> None:
        """Write nothing more, because the call has ended."""
        self.has_ended = True

    async def wait_for_write(self) -> None:
        """Wait for the end of the write that is under way, if there is one.

        grpcio sends the headers with the first message. A status that is sent before that write has
        ended would send them again: grpcio fails, and the caller waits forever.
        """
        if self._pending_write is not None:
            self._write_end = asyncio.get_running_loop().create_future()
            await self._write_end

    def _wake(self) -> None:
        if self._pending_write is None and not self.has_ended:
            self._write_frames()

    def _write_frames(self) -> None:
        """Write frames until a write has to wait, or no frame is left."""
        while (frame := self._take_next() or self._take_bye()) is not None:
            self._pending_write = self._write(frame)
            self.writing_since = self._now()
            if not self._continue_write():
                return
        if self._is_closing:
            self._end()

    def _continue_write(self) -> bool:
        """Run the current write until it has to wait; return whether it is complete."""
        assert self._pending_write is not None
        try:
            waited_for = self._pending_write.send(None)
        except StopIteration:
            self._note_write_end()
            return True
        except Exception as error:  # noqa: BLE001 - grpcio's own when the stream broke; passed on
            self._note_write_end()
            self.fail(error)
            return False
        waited_for._asyncio_future_blocking = False  # noqa: SLF001 - a task does the same
        waited_for.add_done_callback(self._on_write_progress)
        return False

    def _note_write_end(self) -> None:
        self._pending_write = self.writing_since = None
        if self._write_end is not None and not self._write_end.done():
            self._write_end.set_result(None)

    def _on_write_progress(self, _: object) -> None:
        if self._continue_write() and not self.has_ended:
            self._write_frames()

    def _end(self) -> None:
        self.has_ended = True
        self._on_end()

    def _take_bye(self) -> pb.SyncResponse | None:
        bye, self._bye = self._bye, None
        return bye

    def _take_next(self) -> Frame | None:
        if self._control:
            return self._control.popleft()
        if self._ack is not None:
            ack, self._ack = self._ack, None
            self._heartbeat = False
            return ack
        if self._update is not None:
            update, self._update = self._update, None
            self._heartbeat = False
            return update
        if self._heartbeat:
            self._heartbeat = False
            return pb.SyncResponse(heartbeat=pb.Heartbeat())
        return None
