"""OpenStreams: every session of this process; feeds them updates, ends those that are overdue."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import TYPE_CHECKING, Final

from constellation.errors import ShardFullError, SlowReaderError, SupersededError
from constellation.transport.sync.updates import is_nothing, to_update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.shard import ShardManager
    from constellation.transport.sync.limits import Limits
    from constellation.transport.sync.session import Session

_TOGETHER: Final = 64
"""Updates worked out at once; their searches gather into micro-batches."""
_TICK_SECONDS: Final = 0.005
"""Shorter sleeps take longer than they say."""
_PAUSE: Final = 256
"""Sessions looked at before the event loop gets a turn."""


class OpenStreams:
    """The sessions with an open stream. One task feeds all of them, one ends the overdue ones."""

    def __init__(self, shard: ShardManager, limits: Limits) -> None:
        self._shard = shard
        self._limits = limits
        self._all: set[Session] = set()
        self._by_device: dict[bytes, Session] = {}
        self._due: list[tuple[float, int, Session]] = []
        self._queued: set[Session] = set()
        self._order = count()
        self._sooner = asyncio.Event()

    def __len__(self) -> int:
        return len(self._all)

    def device_ids(self) -> list[bytes]:
        """Return the devices that said Hello."""
        return list(self._by_device)

    def is_connected(self, device_id: bytes) -> bool:
        """Say whether a device has a stream."""
        return device_id in self._by_device

    def waiting_bytes(self) -> int:
        """Return the bytes of frames that wait to be written. Looks at every stream."""
        return sum(session.outgoing.waiting_bytes() for session in list(self._all))

    def enter(self, session: Session) -> None:
        """Take in a new stream; raises ShardFullError when there are too many."""
        if len(self._all) >= self._limits.max_streams:
            self._shard.stats.shed["streams"] += 1
            raise ShardFullError(
                f"{len(self._all)} streams are open, and MAX_STREAMS is {self._limits.max_streams}"
            )
        self._all.add(session)

    def leave(self, session: Session) -> None:
        """Forget a stream that ended."""
        session.ended = True
        self._all.discard(session)
        if self._by_device.get(session.device_id) is session:
            del self._by_device[session.device_id]

    def opened(self, session: Session) -> None:
        """Make a session its device's only one."""
        older = self._by_device.get(session.device_id)
        if older is not None:
            older.fail(SupersededError("a newer stream of this device is open"))
        self._by_device[session.device_id] = session

    def wants_update(self, session: Session) -> None:
        """Queue a session for an update, no sooner than it may have one."""
        if session in self._queued:
            return
        self._queued.add(session)
        now = asyncio.get_running_loop().time()
        due = max(now, session.updated_at + self._limits.global_min_interval_seconds)
        heapq.heappush(self._due, (due, next(self._order), session))
        if self._due[0][2] is session:
            self._sooner.set()

    def taste_moved(self, device_ids: Sequence[bytes]) -> None:
        """Queue the devices that have a stream."""
        for device_id in device_ids:
            if session := self._by_device.get(device_id):
                self.wants_update(session)

    def published(self) -> None:
        """Queue everybody."""
        for session in self._by_device.values():
            self.wants_update(session)

    async def feed_forever(self) -> None:
        """Send due updates. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._until_due(loop)
            batch: list[Session] = []
            while self._due and self._due[0][0] <= loop.time() and len(batch) < _TOGETHER:
                session = heapq.heappop(self._due)[2]
                self._queued.discard(session)
                batch.append(session)
            await asyncio.gather(*(self._feed(session) for session in batch))

    async def sweep_forever(self) -> None:
        """End sessions that are overdue. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self._limits.heartbeat_seconds / 2))
            for number, session in enumerate(list(self._all)):
                error = session.overdue(loop.time())
                if error is not None:
                    self._shard.stats.slow_readers += isinstance(error, SlowReaderError)
                    session.fail(error)
                if number % _PAUSE == _PAUSE - 1:
                    await asyncio.sleep(0)

    async def drain(self, spread_seconds: float, return_max_seconds: float) -> None:
        """Ask every device to leave, spread evenly; then end the sessions of those that stayed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + spread_seconds
        sessions = list(self._all)
        for number, session in enumerate(sessions):
            if session.device_id:
                session.drain(max(0.0, end - loop.time()), 0.0, return_max_seconds)
            else:
                session.leave()
            ahead = end - spread_seconds * (1 - (number + 1) / len(sessions)) - loop.time()
            if ahead > _TICK_SECONDS or number % _PAUSE == 0:
                await asyncio.sleep(max(0.0, ahead))
        await asyncio.sleep(max(0.0, end - loop.time()))
        for session in list(self._all):
            session.leave()

    async def _until_due(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._due or self._due[0][0] > loop.time():
            self._sooner.clear()
            wait = self._due[0][0] - loop.time() if self._due else None
            try:
                async with asyncio.timeout(wait):
                    await self._sooner.wait()
            except TimeoutError:
                return

    async def _feed(self, session: Session) -> None:
        if not session.accepts(self._shard.globals.version):
            return
        update, held = await to_update(
            self._shard,
            session.device_id,
            session.held,
            session.capacity,
            session.encoding,
        )
        if session.accepts(self._shard.globals.version) and not is_nothing(update, session.held):
            session.offer(update, held, asyncio.get_running_loop().time())
