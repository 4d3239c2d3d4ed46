"""Outgoing: frames that wait to be written to one stream, bounded by construction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb

Write = Callable[[pb.SyncResponse], Coroutine[Any, None, None]]
"""Writes one frame; returns once the transport has taken it."""


class Outgoing:
    """What one stream's writer takes, in order: control frames, the ack, the update, a heartbeat.

    Acks merge into one, a newer update replaces the waiting one, and a heartbeat goes only when
    nothing else does. Control frames are sent a handful of times in a stream's life.

    It drives grpcio's write coroutine itself, one write at a time: a task that waits for frames
    would cost a fifth of the syncs, and memory for each idle stream (docs/decisions/0005).
    """

    def __init__(self, write: Write, over: Callable[[], object]) -> None:
        self.is_over = False
        """Nothing is written any more: it was closed, or it failed."""
        self.error: BaseException | None = None
        """What the stream must end with, when it failed."""
        self.writing_since: float | None = None
        """Loop time when the write that is under way began."""
        self._write = write
        self._over = over
        self._writing: Coroutine[Any, None, None] | None = None
        self._now = asyncio.get_running_loop().time
        self._control: deque[pb.SyncResponse] = deque()
        self._ack: pb.SyncResponse | None = None
        self._update: patterns.GlobalUpdate | None = None
        self._heartbeat = False
        self._last: pb.SyncResponse | None = None
        self._closed = False

    @property
    def update_waits(self) -> bool:
        """Say whether the last update has not been written yet: another may take its place."""
        return self._update is not None

    def waiting_bytes(self) -> int:
        """Return the bytes of what waits."""
        frames = (*self._control, self._ack, self._update, self._last)
        return sum(frame.ByteSize() for frame in frames if frame is not None)

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
        if self._ack is None:
            self._ack = pb.SyncResponse()
        ack = self._ack.delta_ack
        ack.through_seq = through_seq
        ack.expected_seq = expected_seq
        ack.resync_full = resync_full
        if signals_dropped:
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

    def fail(self, error: BaseException) -> None:
        """End the stream with an error, before anything that still waits."""
        if not self.is_over:
            self.error = error
            self._end()

    def abandon(self) -> None:
        """Write nothing more: the call is over."""
        self.is_over = True

    def _wake(self) -> None:
        if self._writing is None and not self.is_over:
            self._start()

    def _start(self) -> None:
        """Write frames until one does not complete at once, or none is left."""
        while (frame := self._next() or self._take_last()) is not None:
            self._writing = self._write(frame)
            self.writing_since = self._now()
            if not self._step():
                return
        if self._closed:
            self._end()

    def _step(self) -> bool:
        """Run the write under way until it waits; say whether it is done."""
        assert self._writing is not None
        try:
            waited_for = self._writing.send(None)
        except StopIteration:
            self._writing = self.writing_since = None
            return True
        except Exception as error:  # noqa: BLE001 - grpcio's, when the stream broke: it ends with it
            self._writing = self.writing_since = None
            self.fail(error)
            return False
        waited_for._asyncio_future_blocking = False  # noqa: SLF001 - what a task does with it
        waited_for.add_done_callback(self._resume)
        return False

    def _resume(self, _: object) -> None:
        if self._step() and not self.is_over:
            self._start()

    def _end(self) -> None:
        self.is_over = True
        self._over()

    def _take_last(self) -> pb.SyncResponse | None:
        last, self._last = self._last, None
        return last

    def _next(self) -> pb.SyncResponse | None:
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
