"""Open streams are counted, unique by device, fed when due, and ended when overdue."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from constellation.core.device_update import HeldState
from constellation.core.ingest.deltas import Receipt, Rejection, RejectionReason, Verdict
from constellation.core.ingest.stats import ShedReason
from constellation.errors import HelloTimeoutError, ShardFullError, SlowReaderError, SupersededError
from constellation.transport.sync.limits import HELLO_TIMEOUT_SECONDS, SessionLimits
from constellation.transport.sync.streams import OpenStreams
from constellation.transport.sync.updates import UpdateEncoder
from constellation.v1 import sync_pb2 as pb
from tests.deltas import device_id
from tests.sync_client import DEADLINE_SECONDS
from tests.transport.sync.sessions import open_manager, open_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from constellation.transport.sync.session import DeviceSession
    from tests.transport.sync.sessions import WrittenFrames

AT_ONCE = SessionLimits(global_min_interval_seconds=0, heartbeat_seconds=0.02)


class Streams:
    """The open streams of a shard in memory."""

    def __init__(self, manager: Any, limits: SessionLimits) -> None:
        self.all = OpenStreams(manager.stats, limits)
        self.manager = manager
        self._limits = limits

    def send_updates_forever(self) -> Coroutine[Any, Any, None]:
        return self.all.send_updates_forever(self.manager, UpdateEncoder(self.manager))

    def open(self, device: int | None = None) -> tuple[DeviceSession, WrittenFrames]:
        return open_session(self.manager, self.all, self._limits, device)


@asynccontextmanager
async def open_streams(limits: SessionLimits = AT_ONCE) -> AsyncIterator[Streams]:
    async with open_manager() as manager:
        yield Streams(manager, limits)


@asynccontextmanager
async def run_beside(*forever: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each) for each in forever]
        yield
        for task in running:
            task.cancel()


async def test_a_stream_counts_before_its_hello_and_its_device_after() -> None:
    async with open_streams() as streams:
        streams.open()
        streams.open(3)

        assert len(streams.all) == 2
        assert streams.all.device_ids() == [device_id(3)]
        assert streams.all.is_connected(device_id(3))
        assert not streams.all.is_connected(device_id(4))


async def test_one_stream_too_many_is_refused_and_counted() -> None:
    async with open_streams(SessionLimits(max_streams=1)) as streams:
        streams.open(1)

        with pytest.raises(ShardFullError, match="1 streams are open, and MAX_STREAMS is 1"):
            streams.open()

        assert streams.manager.stats.shed[ShedReason.STREAMS] == 1


async def test_a_newer_stream_of_a_device_replaces_the_older() -> None:
    async with open_streams() as streams:
        older, _ = streams.open(1)

        newer, _ = streams.open(1)
        streams.all.remove(older)

        assert isinstance(older.outgoing.error, SupersededError)
        assert not newer.has_ended
        assert streams.all.is_connected(device_id(1))


async def test_a_stream_that_ended_is_forgotten() -> None:
    async with open_streams() as streams:
        session, _ = streams.open(1)

        streams.all.remove(session)

        assert session.has_ended
        assert len(streams.all) == 0
        assert not streams.all.is_connected(device_id(1))


async def test_a_device_gets_the_update_that_it_lacks() -> None:
    async with (
        open_streams() as streams,
        run_beside(streams.send_updates_forever()),
    ):
        _, written = streams.open(1)

        await written.wait_for_frames(2)

        assert written.kinds == ["welcome", "global_update"]


async def test_a_device_waits_between_two_updates() -> None:
    limits = SessionLimits(global_min_interval_seconds=3600)
    async with (
        open_streams(limits) as streams,
        run_beside(streams.send_updates_forever()),
    ):
        recent, recent_frames = streams.open(1)
        await recent_frames.wait_for_frames(2)
        answer_update(recent, recent_frames)
        recent.held_state = HeldState(similar=frozenset([bytes(16)]))  # which an update removes
        streams.all.queue_devices([device_id(1)])

        _, new_frames = streams.open(2)
        await new_frames.wait_for_frames(2)

        assert recent_frames.frames == []


async def test_a_session_is_queued_once() -> None:
    async with open_streams() as streams:
        session, written = streams.open(1)
        streams.all.queue_all()
        streams.all.queue_devices([device_id(1), device_id(2)])
        streams.all.queue_update(session)

        async with run_beside(streams.send_updates_forever()):
            await written.wait_for_frames(2)

        assert len(written.frames) == 2


async def test_a_session_without_hello_is_ended_when_it_is_overdue() -> None:
    async with open_streams() as streams:
        session, written = streams.open()
        session.last_received_at -= HELLO_TIMEOUT_SECONDS + 1

        async with run_beside(streams.all.end_overdue_forever()):
            await asyncio.wait_for(written.ended.wait(), DEADLINE_SECONDS)

        assert isinstance(session.outgoing.error, HelloTimeoutError)


async def test_a_process_that_is_always_late_still_ends_overdue_sessions() -> None:
    async with open_streams(SessionLimits(heartbeat_seconds=0.02)) as streams:
        session, written = streams.open()
        session.last_received_at -= HELLO_TIMEOUT_SECONDS + 1

        async with run_beside(block_the_loop_forever(), streams.all.end_overdue_forever()):
            await asyncio.wait_for(written.ended.wait(), DEADLINE_SECONDS)


async def test_a_stream_that_was_open_for_long_enough_ends_in_order() -> None:
    async with open_streams(SessionLimits(heartbeat_seconds=0.5, stream_seconds=60)) as streams:
        old, written = streams.open(1)
        recent, _ = streams.open(2)
        old.opened_at -= 61

        async with run_beside(streams.all.end_overdue_forever()):
            await asyncio.wait_for(written.ended.wait(), DEADLINE_SECONDS)

        assert written.kinds[-1] == "bye"
        assert old.outgoing.error is None
        assert not recent.has_ended


async def block_the_loop_forever() -> None:
    while True:
        time.sleep(0.05)  # longer than the 0.01 s between two judgements  # noqa: ASYNC251
        await asyncio.sleep(0)


async def test_a_pause_of_the_process_is_in_nobodys_timeouts() -> None:
    async with open_streams(SessionLimits(heartbeat_seconds=1, slow_reader_seconds=1)) as streams:
        silent, _ = streams.open(1)
        slow, _ = streams.open(2)
        recent, _ = streams.open(3)
        before, now = silent.last_received_at, silent.last_received_at + 60
        slow.outgoing.writing_since = before
        recent.last_received_at = now - 0.1

        for session in (silent, slow, recent):
            session.forgive_pause(59.5, now)

        assert [each.check_timeouts(now) for each in (silent, slow, recent)] == [None, None, None]
        assert recent.last_received_at == now
        assert silent.check_timeouts(now + 2) is not None
        assert isinstance(slow.check_timeouts(now + 1), SlowReaderError)


async def test_a_device_that_reads_no_ack_of_what_is_rejected_is_cut() -> None:
    limits = SessionLimits(max_inflight_deltas=1, max_patterns_per_delta=2)
    async with open_streams(limits) as streams:
        session, written = streams.open(1)
        written.is_deaf = True
        session.outgoing.send_heartbeat()  # it stays unread, and what follows waits
        rejection = Rejection(1, bytes(16), RejectionReason.BELOW_QUALITY)
        receipt = Receipt(Verdict.APPLIED, 1, [rejection, rejection])

        for _ in range(2):
            session.complete(receipt)
        assert session.outgoing.error is None
        session.complete(receipt)

        assert str(session.outgoing.error) == (
            "6 rejected patterns wait in an ack, more than 4: the device sends, but does not read"
        )


async def test_a_drain_asks_devices_to_leave_and_ends_every_stream() -> None:
    async with open_streams() as streams:
        _, known = streams.open(1)
        _, unknown = streams.open()

        await streams.all.drain(spread_seconds=0.01, return_max_seconds=10)

        assert known.kinds == ["welcome", "drain", "bye"]
        assert known.frames[1].drain.delay_max.seconds == 10
        assert unknown.kinds == ["bye"]


async def test_a_drain_ends_when_every_device_has_left() -> None:
    async with open_streams() as streams:
        sessions = [streams.open(number)[0] for number in range(3)]

        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as tasks:
            tasks.create_task(streams.all.drain(spread_seconds=3600, return_max_seconds=10))
            for session in sessions:  # each leaves before it is asked
                await asyncio.sleep(0)
                streams.all.remove(session)


def answer_update(session: DeviceSession, written: WrittenFrames) -> None:
    """Apply the last update, as a device does."""
    update = written.take_frames()[-1].global_update
    answer = pb.GlobalAck(nonce=update.nonce, version=update.version)
    session.receive(pb.SyncRequest(global_ack=answer), asyncio.get_running_loop().time())
