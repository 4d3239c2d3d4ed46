"""SimulatedDevice: learns, shares and receives like a television, with little memory."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import CredentialError, UnreachableError
from constellation_settop.network.sync import Sync
from constellation_settop.recommending.brain import Brain
from constellation_settop.storage.database import Durability
from constellation_settop.storage.outbox import Outbox
from constellation_settop.values import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator

    from constellation_settop.network.settings import SyncSettings
    from constellation_settop.recommending.catalogue import Catalogue
    from constellation_settop.simulator.figures import Figures
    from constellation_settop.simulator.plan import DevicePlan
    from constellation_settop.simulator.tastes import Tastes

SECONDS_PER_DAY: Final = 86_400.0
END_OF_DAY: Final = 1.0


@dataclass(frozen=True, slots=True)
class DayClock:
    """A day of 24 hours that passes in the seconds of a run."""

    began_at: float
    """Time of the event loop."""
    seconds: float
    """How long the day lasts."""

    async def sleep_until(self, moment: float) -> None:
        """Sleep until a moment of the day, a fraction of it."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self.began_at + moment * self.seconds - loop.time()))

    def to_timestamp(self, moment: float) -> float:
        """Return a moment in seconds since 1970: the simulated day ends now."""
        return time.time() - (END_OF_DAY - moment) * SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all devices of a run share."""

    address: str
    catalogue: Catalogue
    tastes: Tastes
    figures: Figures
    clock: DayClock
    flush_seconds: float
    """How long a device waits for its last acks at the end of the day."""


class SimulatedDevice:
    """One device. Its file is in memory, and the catalogue is that of all of them.

    What other households contribute is read only when it recommends.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        plan: DevicePlan,
        settings: SyncSettings,
        random: Generator,
        *,
        recommends: bool,
    ) -> None:
        """Prepare a device; `recommends` lets it ask for recommendations before each view."""
        self._shared = surroundings
        self._plan = plan
        self._settings = settings
        self._random = random
        self._recommends = recommends
        self._brain = Brain(surroundings.catalogue)
        self._household = surroundings.tastes.draw_household(random)
        self._next_view = 0
        self.sync: Sync | None = None
        """The connection; None while the device is without network."""
        self.waiting = 0
        """Deltas that were not acked when the day ended, if it was on the network then."""

    async def live(self, device_id: bytes | None) -> None:
        """Live through the day."""
        with Outbox.open(":memory:", device_id, durability=Durability.PROCESS_CRASH) as outbox:
            for begin, end in self._plan.spells:
                await self._watch_until(begin, outbox)
                await self._stay_online(end, outbox)
            await self._watch_until(END_OF_DAY, outbox)

    async def _stay_online(self, end: float, outbox: Outbox) -> None:
        opening = Sync.open(
            self._shared.address,
            outbox,
            self._settings,
            on_global=lambda: self._receive(outbox),
            on_welcome=self._count_session,
        )
        async with opening as sync:
            with self._online(sync):
                await self._watch_until(end, outbox)
                if end == END_OF_DAY:
                    await self._flush(sync)

    @contextmanager
    def _online(self, sync: Sync) -> Iterator[None]:
        self.sync = sync
        self._shared.figures.online += 1
        try:
            yield
        finally:
            self._shared.figures.online -= 1
            self._shared.figures.rejections.update(sync.rejections)
            self.sync = None

    def _count_session(self) -> None:
        self._shared.figures.sessions += 1

    def _receive(self, outbox: Outbox) -> None:
        self._shared.figures.updates += 1
        outbox.release_global_state()
        if self._recommends:
            self._brain.use_global_state(lambda: outbox.global_state)

    async def _flush(self, sync: Sync) -> None:
        try:
            await sync.flush(self._shared.flush_seconds)
        except (UnreachableError, CredentialError) as error:
            self._shared.figures.problems[str(error)] += 1
        self.waiting = len(sync.outbox.pending_deltas)

    async def _watch_until(self, end: float, outbox: Outbox) -> None:
        views = self._plan.views
        while self._next_view < len(views) and views[self._next_view] < end:
            moment = views[self._next_view]
            self._next_view += 1
            await self._shared.clock.sleep_until(moment)
            self._watch(moment, outbox)
        await self._shared.clock.sleep_until(end)

    def _watch(self, moment: float, outbox: Outbox) -> None:
        figures = self._shared.figures
        if self._recommends:
            began = time.perf_counter()
            self._brain.recommend()
            figures.recommend_seconds.append(time.perf_counter() - began)
        content_id, share = self._shared.tastes.draw_content(self._household, self._random)
        watched_at = self._shared.clock.to_timestamp(moment)
        self._brain.observe(View(content_id, share, watched_at=watched_at))
        figures.views += 1
        if changes := self._brain.take_changes():
            outbox.append(changes)
        if self.sync is not None:
            self.sync.notify()
