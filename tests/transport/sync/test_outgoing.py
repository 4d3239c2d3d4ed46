"""The frames of one stream are written one at a time, in order, and their number is bounded."""

from __future__ import annotations

import asyncio

import pytest

from constellation.transport.sync.outgoing import Frame, OutgoingFrames
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb
from tests.transport.sync.sessions import decode_frame


class SlowWriter:
    """A stream's transport that takes a frame only when it is told to."""

    def __init__(self) -> None:
        self.frames: list[pb.SyncResponse] = []
        self.ends = 0
        self.outgoing = OutgoingFrames(self._write, self._end)
        self._pending: asyncio.Future[None] | None = None

    @property
    def kinds(self) -> list[str | None]:
        return [frame.WhichOneof("frame") for frame in self.frames]

    async def complete_write(self, error: Exception | None = None) -> None:
        """Let the current write complete, and the next one begin."""
        assert self._pending is not None
        if error is None:
            self._pending.set_result(None)
        else:
            self._pending.set_exception(error)
        await asyncio.sleep(0)  # the future's callbacks run

    async def complete_all(self) -> None:
        while self._pending is not None and not self._pending.done():
            await self.complete_write()

    async def _write(self, frame: Frame) -> None:
        self.frames.append(decode_frame(frame))
        self._pending = asyncio.get_running_loop().create_future()
        await self._pending

    def _end(self) -> None:
        self.ends += 1


def make_drain() -> pb.SyncResponse:
    return pb.SyncResponse(drain=pb.Drain())


async def test_control_frames_go_first_then_the_ack_then_the_update_then_bye() -> None:
    writer = SlowWriter()
    outgoing = writer.outgoing
    outgoing.send_control(pb.SyncResponse(welcome=pb.Welcome()))

    outgoing.send_heartbeat()
    outgoing.send_update(b"", 1)
    outgoing.send_ack(1, 2)
    outgoing.send_control(make_drain())
    outgoing.send_bye(pb.BYE_REASON_DONE)
    await writer.complete_all()

    assert writer.kinds == ["welcome", "drain", "delta_ack", "global_update", "bye"]
    assert (outgoing.has_ended, outgoing.error, writer.ends) == (True, None, 1)


async def test_only_one_frame_is_written_at_a_time() -> None:
    writer = SlowWriter()

    writer.outgoing.send_control(make_drain())
    writer.outgoing.send_control(make_drain())

    assert writer.kinds == ["drain"]
    await writer.complete_write()
    assert writer.kinds == ["drain", "drain"]


async def test_acks_that_wait_become_one() -> None:
    writer = SlowWriter()
    writer.outgoing.send_control(make_drain())

    writer.outgoing.send_ack(1, 2, rejected=[patterns.Rejection(seq=1)], signals_dropped=2)
    writer.outgoing.send_ack(2, 3, rejected=[patterns.Rejection(seq=2)], signals_dropped=3)
    await writer.complete_all()

    ack = writer.frames[1].delta_ack
    assert len(writer.frames) == 2
    assert (ack.through_seq, ack.expected_seq, ack.signals_dropped) == (2, 3, 5)
    assert [rejection.seq for rejection in ack.rejected] == [1, 2]


async def test_a_newer_update_replaces_the_one_that_waits() -> None:
    writer = SlowWriter()
    writer.outgoing.send_control(make_drain())

    writer.outgoing.send_update(b"", 1)
    assert writer.outgoing.has_pending_update
    writer.outgoing.send_update(b"", 2)
    await writer.complete_all()

    assert [frame.global_update.nonce for frame in writer.frames[1:]] == [2]
    assert not writer.outgoing.has_pending_update


async def test_a_heartbeat_is_written_only_when_nothing_else_is() -> None:
    writer = SlowWriter()

    writer.outgoing.send_heartbeat()
    writer.outgoing.send_heartbeat()
    writer.outgoing.send_ack(1, 2)
    await writer.complete_all()

    assert writer.kinds == ["heartbeat", "delta_ack"]


async def test_a_write_that_is_under_way_has_a_time() -> None:
    writer = SlowWriter()
    before = asyncio.get_running_loop().time()

    writer.outgoing.send_control(make_drain())

    assert writer.outgoing.writing_since is not None
    assert writer.outgoing.writing_since >= before
    await writer.complete_write()
    assert writer.outgoing.writing_since is None


async def test_frames_that_wait_are_counted_in_bytes() -> None:
    writer = SlowWriter()
    writer.outgoing.send_control(make_drain())

    writer.outgoing.send_update(bytes(160), 1)

    assert writer.outgoing.waiting_bytes() > 160
    await writer.complete_all()
    assert writer.outgoing.waiting_bytes() == 0


async def test_a_write_that_fails_ends_the_stream_with_its_error() -> None:
    writer = SlowWriter()
    writer.outgoing.send_control(make_drain())
    writer.outgoing.send_control(make_drain())
    error = RuntimeError("broken")

    await writer.complete_write(error)

    assert writer.kinds == ["drain"]
    assert (writer.outgoing.has_ended, writer.outgoing.error, writer.ends) == (True, error, 1)


async def test_an_error_ends_the_stream_before_the_frames_that_wait() -> None:
    writer = SlowWriter()
    writer.outgoing.send_control(make_drain())
    writer.outgoing.send_ack(1, 2)
    error = RuntimeError("superseded")

    writer.outgoing.fail(error)
    writer.outgoing.fail(RuntimeError("later"))
    await writer.complete_all()

    assert writer.kinds == ["drain"]
    assert (writer.outgoing.error, writer.ends) == (error, 1)


async def test_the_end_of_a_write_can_be_awaited_after_an_error() -> None:
    writer = SlowWriter()
    writer.outgoing.send_control(make_drain())
    writer.outgoing.fail(RuntimeError("superseded"))

    waiting = asyncio.create_task(writer.outgoing.wait_for_write())
    await asyncio.sleep(0)

    assert not waiting.done()
    await writer.complete_write()
    await waiting
    await writer.outgoing.wait_for_write()  # nothing is being written: returns at once


@pytest.mark.parametrize("closes_first", [True, False])
async def test_a_stream_that_closes_writes_what_waits(*, closes_first: bool) -> None:
    writer = SlowWriter()
    writer.outgoing.send_control(make_drain())

    if closes_first:
        writer.outgoing.close()
    writer.outgoing.send_ack(1, 2)
    writer.outgoing.close()
    await writer.complete_all()

    assert writer.kinds == ["drain", "delta_ack"]
    assert (writer.outgoing.has_ended, writer.ends) == (True, 1)


async def test_nothing_is_written_once_the_call_is_over() -> None:
    writer = SlowWriter()

    writer.outgoing.abandon()
    writer.outgoing.send_ack(1, 2)

    assert writer.frames == []
    assert writer.ends == 0
