"""Outgoing: frames that wait to be written to one stream, bounded by construction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb

WriteFrame = Callable[[pb.SyncResponse], Coroutine[Any, None, None]]
"""Writes one frame; returns once the transport has taken it."""


class OutgoingFrames:
    """What one stream's writer takes, in order: control frames, the ack, the update, a heartbeat.

    Acks merge into one, a newer update replaces the waiting one, and a heartbeat goes only when
    nothing else does. Control frames are sent a handful of times in a stream's life.

    It drives grpcio's write coroutine itself, one write at a time: a task that waits for frames
    would cost a fifth of the syncs, and memory for each idle stream (docs/decisions/0005).
    """

    def __init__(self, write: WriteFrame, on_end: Callable[[], object]) -> None:
        self.has_ended = False
        """Nothing is written any more: it was closed, or it failed."""
        self.error: BaseException | None = None
        """What the stream must end with, when it failed."""
        self.writing_since: float | None = None
        """Loop time when the write that is under way began."""
        self._write = write
        self._on_end = on_end
        self._pending_write: Coroutine[Any, None, None] | None = None
        self._now = asyncio.get_running_loop().time
        self._control: deque[pb.SyncResponse] = deque()
        self._ack: pb.SyncResponse | None = None
        self._update: patterns.GlobalUpdate | None = None
        self._heartbeat = False
        self._bye: pb.SyncResponse | None = None
        self._is_closing = False

    @property
    def has_pending_update(self) -> bool:
        """Say whether the last update has not been written yet: another may take its place."""
        return self._update is not None

    def waiting_bytes(self) -> int:
        """Return the bytes of what waits."""
        frames = (*self._control, self._ack, self._update, self._bye)
        return sum(frame.ByteSize() for frame in frames if frame is not None)

    def send_control(self, frame: pb.SyncResponse) -> None:
        """Send a welcome, throttle, redirect or drain."""
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
        """Send an ack, merged with the one that waits."""
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

    def send_update(self, update: patterns.GlobalUpdate) -> None:
        """Send an update, in place of the one that waits."""
        self._update = update
        self._wake()

    def send_heartbeat(self) -> None:
        """Send a heartbeat unless something else goes out."""
        self._heartbeat = True
        self._wake()

    def send_bye(self, reason: pb.ByeReason.ValueType) -> None:
        """Send what waits, then Bye, and end the stream in order."""
        self._bye = pb.SyncResponse(bye=pb.Bye(reason=reason))
        self.close()

    def close(self) -> None:
        """Send what waits, then end the stream in order."""
        self._is_closing = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        """End the stream with an error, before anything that still waits."""
        if not self.has_ended:
            self.error = error
            self._end()

    def abandon(self) -> None:
        """Write nothing more: the call is over."""
        self.has_ended = True

    def _wake(self) -> None:
        if self._pending_write is None and not self.has_ended:
            self._write_frames()

    def _write_frames(self) -> None:
        """Write frames until one does not complete at once, or none is left."""
        while (frame := self._take_next() or self._take_bye()) is not None:
            self._pending_write = self._write(frame)
            self.writing_since = self._now()
            if not self._continue_write():
                return
        if self._is_closing:
            self._end()

    def _continue_write(self) -> bool:
        """Run the write under way until it waits; say whether it is done."""
        assert self._pending_write is not None
        try:
            waited_for = self._pending_write.send(None)
        except StopIteration:
            self._pending_write = self.writing_since = None
            return True
        except Exception as error:  # noqa: BLE001 - grpcio's, when the stream broke: it ends with it
            self._pending_write = self.writing_since = None
            self.fail(error)
            return False
        waited_for._asyncio_future_blocking = False  # noqa: SLF001 - what a task does with it
        waited_for.add_done_callback(self._on_write_progress)
        return False

    def _on_write_progress(self, _: object) -> None:
        if self._continue_write() and not self.has_ended:
            self._write_frames()

    def _end(self) -> None:
        self.has_ended = True
        self._on_end()

    def _take_bye(self) -> pb.SyncResponse | None:
        bye, self._bye = self._bye, None
        return bye

    def _take_next(self) -> pb.SyncResponse | None:
        if self._control:
            return self._control.popleft()
        if self._ack is not None:
            ack, self._ack = self._ack, None
            self._heartbeat = False
            return ack
        if self._update is not None:
            update, self._update = self._update, None
            self._heartbeat = False
            return pb.SyncResponse(global_update=update)
        if self._heartbeat:
            self._heartbeat = False
            return pb.SyncResponse(heartbeat=pb.Heartbeat())
        return None
