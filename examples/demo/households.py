"""The demo's households: each with a set-top box of its own, which replays what it watched."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.placement import find_owner
from constellation_settop import (
    Catalogue,
    ContentType,
    Context,
    DayType,
    Device,
    DeviceSettings,
    Durability,
    SyncSettings,
    TimeOfDay,
    View,
)
from examples.demo.process import DemoError
from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from constellation_settop import Outbox
    from testing.catalogue import FilmCatalogue
    from testing.viewings import Viewings

HELD_OUT_SHARE: Final = 0.2
"""Share of the films a household liked, its latest, that its device never hears of."""
VIEWS_PER_DELTA: Final = 4
MAX_UNACKED: Final = 8
"""Deltas of all devices together that may wait for an ack before the replay waits too."""
OUTAGE_PAUSE_SECONDS: Final = 0.02
"""Between the steps of the replay while the shard is away: people go on watching."""
STALL_SECONDS: Final = 60.0
FIRST_SHARD: Final = 0
"""Every device is given the address of this shard, and lands where the map says."""
_STEP_VIEWINGS: Final = 8
"""Viewings before others may run."""
WORKDAY: Final = Context(TimeOfDay.EVENING, DayType.WEEKDAY)
WEEKEND: Final = Context(TimeOfDay.EVENING, DayType.WEEKEND)
"""Whatever the clock says: the demo's week ends on a Sunday evening."""
WEEKEND_SECONDS: Final = 2 * 24 * 3600
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "demo.constellation")


@dataclass(slots=True)
class AckLatencies:
    """What the devices of one shard were told by it."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from a delta's frame to its ack."""
    arrival: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, _: int, latency_seconds: float) -> None:
        self.latencies.append(latency_seconds)
        self.arrival.set()

    async def wait_for_next(self) -> None:
        """Return when one more has come."""
        self.arrival.clear()
        await self.arrival.wait()


def compute_percentile_ms(acks: Iterable[AckLatencies], percent: float) -> float:
    """Return a percentile of the latencies of several shards together."""
    latencies = [seconds for each in acks for seconds in each.latencies]
    return float(np.percentile(latencies, percent)) * 1e3 if latencies else 0.0


@dataclass(frozen=True, slots=True)
class Household:
    number: int
    """MovieLens's user id."""
    device: Device
    shard_id: int
    """Its shard, by the shard map."""
    held_out: frozenset[str]
    """Content ids it liked and its device never saw."""

    @property
    def outbox(self) -> Outbox:
        return self.device.outbox


def make_device_id(household: int) -> bytes:
    return uuid.uuid5(_NAMESPACE, str(household)).bytes


def to_settop_catalogue(catalogue: FilmCatalogue) -> Catalogue:
    """Return the films as devices use them; one object serves all of them."""
    films = catalogue.films
    return Catalogue(
        [film.content_id for film in films],
        catalogue.embeddings,
        titles=[f"{film.title} ({film.year})" for film in films],
        genres=[film.genres for film in films],
        content_types=[ContentType.MOVIE] * len(films),
    )


def select_held_out(viewings: Viewings) -> NDArray[np.bool_]:
    """Return which viewings are kept from the devices, shape (n,): each one's latest liked ones."""
    held = np.zeros(len(viewings), bool)
    liked = viewings.ratings >= LIKED
    for household in np.unique(viewings.households):
        rows = np.flatnonzero(liked & (viewings.households == household))
        held[rows[len(rows) - round(HELD_OUT_SHARE * len(rows)) :]] = True
    return held


@asynccontextmanager
async def open_households(
    held_out: Viewings,
    numbers: Sequence[int],
    shards: Mapping[int, str],
    folder: Path,
    catalogue: Catalogue,
) -> AsyncIterator[tuple[list[Household], Mapping[int, AckLatencies]]]:
    """Open one device for each household; all of them sync until the block is left."""
    acks = {shard_id: AckLatencies() for shard_id in shards}
    async with AsyncExitStack() as stack:
        households = []
        for number in numbers:
            shard_id = find_owner(make_device_id(number), shards)
            opening = open_device(number, shards, folder, catalogue, acks[shard_id])
            device = await stack.enter_async_context(opening)
            films = held_out.content_ids[held_out.households == number]
            households.append(Household(number, device, shard_id, frozenset(films.tolist())))
        yield households, acks


def open_device(
    number: int, shards: Mapping[int, str], folder: Path, catalogue: Catalogue, acks: AckLatencies
) -> AbstractAsyncContextManager[Device]:
    """Return a device to be opened, which knows the address of one shard."""
    return Device.open(
        shards[FIRST_SHARD],
        data_dir=folder / f"household-{number}",
        catalogue=catalogue,
        settings=DeviceSettings(
            device_id=make_device_id(number),
            delta_interval_seconds=3600,  # the replay cuts deltas itself
            durability=Durability.PROCESS_CRASH,
            keep_journal=True,
            sync=SyncSettings(backoff_base_seconds=0.2, backoff_cap_seconds=2.0, on_ack=acks.add),
        ),
    )


class Replay:
    """All viewings in time order, each on the device of its household."""

    def __init__(
        self,
        households: Sequence[Household],
        viewings: Viewings,
        times: NDArray[np.int64],
        require_running: Callable[[], None],
    ) -> None:
        """Take what is watched, and what raises when a server has crashed."""
        self._households = households
        self._viewings = viewings
        self._times = times
        self._require_running = require_running
        self._weekend = times > times[-1] - WEEKEND_SECONDS
        self._devices = {each.number: each.device for each in households}
        self._unsent_views = dict.fromkeys(self._devices, 0)
        self.next_row = 0
        """The next viewing."""
        self.is_shard_unreachable = False
        """A shard is known to be away: nobody waits for acks."""

    def __len__(self) -> int:
        return len(self._viewings)

    @property
    def unacked_count(self) -> int:
        """Deltas that are not acked."""
        return sum(len(each.outbox.pending_deltas) for each in self._households)

    @property
    def acked_count(self) -> int:
        """Deltas acked so far; no device's numbering has a gap, which `verify` checks."""
        return sum(each.outbox.last_acked_seq for each in self._households)

    def count_acked_by(self, shard_id: int) -> int:
        """Return how many of them one shard acked."""
        households = (each for each in self._households if each.shard_id == shard_id)
        return sum(each.outbox.last_acked_seq for each in households)

    async def replay_until(self, row: int) -> None:
        """Replay up to this viewing, as fast as acks come back."""
        while self.next_row < row:
            self.replay_burst(min(_STEP_VIEWINGS, row - self.next_row))
            await self._pause()

    def replay_burst(self, count: int) -> None:
        """Replay so many viewings at once, without waiting for anything."""
        for _ in range(min(count, len(self) - self.next_row)):
            self._replay_next()

    async def flush(self) -> None:
        """Return once every device has the acks of all it learned."""
        for each in self._households:
            each.device.save_changes()
        await self._wait_for_acks(0)

    def _replay_next(self) -> None:
        row, viewings = self.next_row, self._viewings
        number = int(viewings.households[row])
        self._devices[number].observe(
            View(
                str(viewings.content_ids[row]),
                float(viewings.watch_percentages[row]),
                float(viewings.engagements[row]),
                watched_at=int(self._times[row]),
                context=WEEKEND if self._weekend[row] else WORKDAY,
            )
        )
        self._unsent_views[number] += 1
        if self._unsent_views[number] == VIEWS_PER_DELTA:
            self._unsent_views[number] = 0
            self._devices[number].save_changes()
        self.next_row += 1

    async def _pause(self) -> None:
        await asyncio.sleep(OUTAGE_PAUSE_SECONDS if self.is_shard_unreachable else 0)
        self._require_running()
        if not self.is_shard_unreachable:
            await self._wait_for_acks(MAX_UNACKED)

    async def _wait_for_acks(self, limit: int) -> None:
        """Return once no more deltas than this wait for acks, or nobody waits for them."""
        stalled_at = time.monotonic() + STALL_SECONDS
        while self.unacked_count > limit and not self.is_shard_unreachable:
            self._require_running()
            if time.monotonic() > stalled_at:
                raise DemoError(
                    f"{self.unacked_count} deltas were not acked in {STALL_SECONDS:g} s"
                )
            await asyncio.sleep(0.002)
