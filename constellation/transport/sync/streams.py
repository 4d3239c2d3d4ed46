"""The open streams of this process: they receive updates when due, and end when overdue."""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Final

import structlog

from constellation.core.ingest.stats import ShedReason
from constellation.errors import NotReadyError, ShardFullError, SlowReaderError, SupersededError
from constellation.transport.calls.pauses import PauseWatch
from constellation.transport.sync.origin_limits import OriginGuard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.stats import Stats
    from constellation.core.shard import ShardManager
    from constellation.transport.sync.limits import SessionLimits
    from constellation.transport.sync.session import DeviceSession
    from constellation.transport.sync.updates import UpdateEncoder

log = structlog.get_logger(__name__)

_BATCH_SIZE: Final = 64
"""Updates that are made concurrently, so that their searches form micro-batches."""
_MIN_SLEEP_SECONDS: Final = 0.005
"""The shortest sleep that the event loop keeps accurately."""
_MIN_LOGGED_PAUSE_SECONDS: Final = 1.0
_SESSIONS_PER_TURN: Final = 256
"""Sessions that one loop handles before other tasks get a turn."""


class OpenStreams:
    """The sessions with an open stream. One task sends all updates, one ends overdue sessions."""

    def __init__(self, stats: Stats, limits: SessionLimits) -> None:
        self.guard = OriginGuard(limits.origins, stats, time.monotonic)
        self._stats = stats
        self._limits = limits
        self._sessions: set[DeviceSession] = set()
        self._by_device: dict[bytes, DeviceSession] = {}
        self._update_queue: list[tuple[float, int, DeviceSession]] = []
        self._queued_sessions: set[DeviceSession] = set()
        self._tie_breaker = count()
        self._has_earlier_update = asyncio.Event()
        self._are_gone = asyncio.Event()
        """Set when the last stream has ended."""

    def __len__(self) -> int:
        return len(self._sessions)

    def device_ids(self) -> list[bytes]:
        """Return the devices that have an open stream and have sent Hello."""
        return list(self._by_device)

    def is_connected(self, device_id: bytes) -> bool:
        """Return whether a device has an open stream."""
        return device_id in self._by_device

    def waiting_bytes(self) -> int:
        """Return the bytes of all frames that wait to be written. Looks at every stream."""
        return sum(session.outgoing.waiting_bytes() for session in list(self._sessions))

    def add(self, session: DeviceSession) -> None:
        """Add the session of a new stream.

        Raises ShardFullError when MAX_STREAMS are open, and OriginLimitError when too many come
        from one lot or address.
        """
        limit = self._limits.max_streams
        if len(self._sessions) >= limit:
            self._stats.shed[ShedReason.STREAMS] += 1
            raise ShardFullError(
                f"{len(self._sessions)} streams are open, and MAX_STREAMS is {limit}"
            )
        self.guard.open_stream(session.call_origin)
        self._sessions.add(session)

    def remove(self, session: DeviceSession) -> None:
        """Remove the session of a stream that has ended."""
        session.has_ended = True
        if session in self._sessions:
            self._sessions.remove(session)
            self.guard.close_stream(session.call_origin)
        if not self._sessions:
            self._are_gone.set()
        if self._by_device.get(session.device_id) is session:
            del self._by_device[session.device_id]

    def register(self, session: DeviceSession) -> None:
        """Make a session its device's only one: an older one fails with SupersededError."""
        older = self._by_device.get(session.device_id)
        if older is not None:
            older.fail(SupersededError("a newer stream of this device is open"))
        self._by_device[session.device_id] = session

    def end_stream_of(self, device_id: bytes) -> None:
        """End the stream of a device whose data was deleted, if it has one."""
        if session := self._by_device.get(device_id):
            session.fail(NotReadyError("the data of this device was deleted: connect again"))

    def queue_update(self, session: DeviceSession) -> None:
        """Queue a session for its next update, at the earliest time that its limits allow."""
        if session in self._queued_sessions:
            return
        self._queued_sessions.add(session)
        now = asyncio.get_running_loop().time()
        due = max(now, session.updated_at + self._limits.global_min_interval_seconds)
        heapq.heappush(self._update_queue, (due, next(self._tie_breaker), session))
        if self._update_queue[0][2] is session:
            self._has_earlier_update.set()

    def queue_devices(self, device_ids: Sequence[bytes]) -> None:
        """Queue updates for those of the devices that have an open stream."""
        for device_id in device_ids:
            if session := self._by_device.get(device_id):
                self.queue_update(session)

    def queue_all(self) -> None:
        """Queue an update for every device that has an open stream."""
        for session in self._by_device.values():
            self.queue_update(session)

    async def send_updates_forever(self, shard: ShardManager, encoder: UpdateEncoder) -> None:
        """Send each queued update of what a shard knows when it is due. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_until_due(loop)
            batch: list[DeviceSession] = []
            while (
                self._update_queue
                and self._update_queue[0][0] <= loop.time()
                and len(batch) < _BATCH_SIZE
            ):
                session = heapq.heappop(self._update_queue)[2]
                self._queued_sessions.discard(session)
                batch.append(session)
            await asyncio.gather(*(self._send_update(shard, encoder, session) for session in batch))

    async def end_overdue_forever(self) -> None:
        """End the sessions that exceed a timeout. Runs until cancelled."""
        limits = self._limits
        tick = min(1.0, limits.heartbeat_seconds / 2, limits.slow_reader_seconds / 2)
        watch = PauseWatch(longest_delay=tick)
        must_judge = False
        while True:
            pause = await watch.sleep(tick)
            if pause:
                self._forgive_pause(pause, watch.now)
                if not must_judge:  # what waited in the sockets is read first
                    must_judge = True
                    continue
            must_judge = not await self._end_overdue(watch, must_finish=must_judge)

    async def _end_overdue(self, watch: PauseWatch, *, must_finish: bool) -> bool:
        """End the sessions that are overdue now; return whether all were judged.

        A pause ends this early. It may not do that twice in a row (`must_finish`): a process that
        is always late would judge nobody.
        """
        for number, session in enumerate(list(self._sessions)):
            error = session.check_timeouts(watch.now)
            if error is not None:
                self._stats.slow_readers += isinstance(error, SlowReaderError)
                session.fail(error)
            elif session.is_old(watch.now):
                session.close()
            if number % _SESSIONS_PER_TURN == _SESSIONS_PER_TURN - 1 and (
                pause := await watch.sleep(0)
            ):
                self._forgive_pause(pause, watch.now)
                if not must_finish:
                    return False
        return True

    def _forgive_pause(self, seconds: float, now: float) -> None:
        """Leave the time in which this process stood still out of all timeouts.

        They are judged again a tick later, when what waited in the sockets has been read.
        """
        if seconds >= _MIN_LOGGED_PAUSE_SECONDS:
            log.warning("process_paused", seconds=round(seconds, 1), streams=len(self._sessions))
        for session in self._sessions:
            session.forgive_pause(seconds, now)

    async def drain(self, spread_seconds: float, return_max_seconds: float) -> None:
        """Ask every device to leave, spread evenly over time; then end the remaining sessions.

        Ends earlier when all have left. Devices come back after up to `return_max_seconds`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + spread_seconds
        sessions = list(self._sessions)
        for number, session in enumerate(sessions):
            if not self._sessions:
                return
            if session.device_id:
                session.drain(max(0.0, end - loop.time()), 0.0, return_max_seconds)
            else:
                session.close()
            ahead = end - spread_seconds * (1 - (number + 1) / len(sessions)) - loop.time()
            if ahead > _MIN_SLEEP_SECONDS or number % _SESSIONS_PER_TURN == 0:
                await self._wait_until_gone(ahead)
        await self._wait_until_gone(end - loop.time())
        for session in list(self._sessions):
            session.close()

    async def _wait_until_gone(self, seconds: float) -> None:
        """Wait until no stream is open, for at most `seconds`."""
        self._are_gone.clear()
        if not self._sessions or seconds <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._are_gone.wait()

    async def _wait_until_due(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._update_queue or self._update_queue[0][0] > loop.time():
            self._has_earlier_update.clear()
            wait = self._update_queue[0][0] - loop.time() if self._update_queue else None
            try:
                async with asyncio.timeout(wait):
                    await self._has_earlier_update.wait()
            except TimeoutError:
                return

    async def _send_update(
        self, shard: ShardManager, encoder: UpdateEncoder, session: DeviceSession
    ) -> None:
        if not session.can_offer(shard.global_state.version):
            return
        update = await encoder.make_update(
            session.device_id, session.held_state, session.capacity, session.encoding
        )
        if session.can_offer(shard.global_state.version) and not update.is_redundant:
            session.offer(update, asyncio.get_running_loop().time())
