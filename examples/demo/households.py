"""The households of the demo: each has a device, which replays what the household watched."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
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
from examples.demo.security import OpenFleet
from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from constellation_settop import Outbox
    from testing.catalogue import FilmCatalogue
    from testing.viewings import Viewings

HELD_OUT_SHARE: Final = 0.2
"""Share of the films that a household liked, the latest ones, that its device never sees."""
VIEWS_PER_DELTA: Final = 4
"""Views of a device after which the replay saves a delta."""
MAX_UNACKED: Final = 8
"""Deltas of all devices that may wait for an ack. Beyond it, the replay waits as well."""
OUTAGE_PAUSE_SECONDS: Final = 0.02
"""Pause between steps of the replay while a shard is unavailable. People keep watching."""
STALL_SECONDS: Final = 60.0
"""How long the replay waits for acks before the demo fails."""
FIRST_SHARD: Final = 0
"""Every device connects to this shard first, and is redirected when another owns it."""
_STEP_VIEWINGS: Final = 8
"""Viewings that are replayed before other tasks may run."""
WORKDAY: Final = Context(TimeOfDay.EVENING, DayType.WEEKDAY)
WEEKEND: Final = Context(TimeOfDay.EVENING, DayType.WEEKEND)
"""The context of the last two days: the demo's week ends on a Sunday, on any day it is run."""
WEEKEND_SECONDS: Final = 2 * 24 * 3600
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "demo.constellation")


@dataclass(slots=True)
class AckLatencies:
    """The acks that one shard sent to its devices."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from a delta's frame to its ack."""
    arrival: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an ack arrives."""

    def add(self, _: int, latency_seconds: float) -> None:
        """Record one ack."""
        self.latencies.append(latency_seconds)
        self.arrival.set()

    async def wait_for_next(self) -> None:
        """Wait until one more ack arrives."""
        self.arrival.clear()
        await self.arrival.wait()


def compute_median_ms(acks: Iterable[AckLatencies]) -> float:
    """Return the median ack latency of several shards, in ms; 0 without any."""
    latencies = [seconds for each in acks for seconds in each.latencies]
    return float(np.median(latencies)) * 1e3 if latencies else 0.0


@dataclass(frozen=True, slots=True)
class Household:
    """One household, its device and its shard."""

    number: int
    """The MovieLens user id."""
    device: Device
    shard_id: int
    """The shard that owns the device, according to the shard map."""
    held_out: frozenset[str]
    """Ids of films that the household liked and its device never saw."""

    @property
    def outbox(self) -> Outbox:
        return self.device.outbox


def make_device_id(household: int) -> bytes:
    """Return the device id of a household, the same in every run."""
    return uuid.uuid5(_NAMESPACE, str(household)).bytes


def to_settop_catalogue(catalogue: FilmCatalogue) -> Catalogue:
    """Return the films as a catalogue of the SDK. All devices share it."""
    films = catalogue.films
    return Catalogue(
        [film.content_id for film in films],
        catalogue.embeddings,
        titles=[f"{film.title} ({film.year})" for film in films],
        genres=[film.genres for film in films],
        content_types=[ContentType.MOVIE] * len(films),
    )


def select_held_out(viewings: Viewings) -> NDArray[np.bool_]:
    """Return which viewings to hold out, shape (n,): the last ones that each household liked."""
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
    security: OpenFleet | None = None,
) -> AsyncIterator[tuple[list[Household], Mapping[int, AckLatencies]]]:
    """Open one device for each household. They sync until the block ends."""
    acks = {shard_id: AckLatencies() for shard_id in shards}
    async with AsyncExitStack() as stack:
        households = []
        for number in numbers:
            shard_id = find_owner(make_device_id(number), shards)
            opening = open_device(number, shards, folder, catalogue, acks[shard_id], security)
            device = await stack.enter_async_context(opening)
            films = held_out.content_ids[held_out.households == number]
            households.append(Household(number, device, shard_id, frozenset(films.tolist())))
        yield households, acks


def open_device(
    number: int,
    shards: Mapping[int, str],
    folder: Path,
    catalogue: Catalogue,
    acks: AckLatencies,
    security: OpenFleet | None = None,
) -> AbstractAsyncContextManager[Device]:
    """Return a device to open with `async with`. It knows the address of one shard only."""
    return Device.open(
        shards[FIRST_SHARD],
        data_dir=folder / f"household-{number}",
        catalogue=catalogue,
        settings=DeviceSettings(
            device_id=make_device_id(number),
            delta_interval_seconds=3600,  # the replay saves deltas itself
            durability=Durability.PROCESS_CRASH,
            keep_journal=True,
            sync=SyncSettings(
                backoff_base_seconds=0.2,
                backoff_cap_seconds=2.0,
                on_ack=acks.add,
                **(security or OpenFleet()).make_sync_settings(make_device_id(number)),
            ),
        ),
    )


class Replay:
    """Replays all viewings in order of time, each on the device of its household."""

    def __init__(
        self,
        households: Sequence[Household],
        viewings: Viewings,
        times: NDArray[np.int64],
        require_running: Callable[[], None],
    ) -> None:
        """Prepare a replay; `require_running` raises DemoError when a server has crashed."""
        self._households = households
        self._viewings = viewings
        self._times = times
        self._require_running = require_running
        self._weekend = times > times[-1] - WEEKEND_SECONDS
        self._devices = {each.number: each.device for each in households}
        self._unsent_views = dict.fromkeys(self._devices, 0)
        self.next_row = 0
        """The row of the next viewing."""
        self._is_shard_unavailable = False

    def __len__(self) -> int:
        return len(self._viewings)

    @property
    def unacked_count(self) -> int:
        """Deltas that are not acked yet."""
        return sum(len(each.outbox.pending_deltas) for each in self._households)

    @property
    def acked_count(self) -> int:
        """Deltas acked so far. It adds up the last seqs; `verify` checks that no seq is missing."""
        return sum(each.outbox.last_acked_seq for each in self._households)

    def count_acked_by(self, shard_id: int) -> int:
        """Return how many deltas one shard has acked."""
        households = (each for each in self._households if each.shard_id == shard_id)
        return sum(each.outbox.last_acked_seq for each in households)

    async def replay_until(self, row: int) -> None:
        """Replay the viewings before `row`, as fast as acks arrive."""
        while self.next_row < row:
            self.replay_burst(min(_STEP_VIEWINGS, row - self.next_row))
            await self._pause()

    def replay_burst(self, count: int) -> None:
        """Replay up to `count` viewings at once, without waiting for acks."""
        for _ in range(min(count, len(self) - self.next_row)):
            self._replay_next()

    async def flush(self) -> None:
        """Save what every device learned, and wait until all of it is acked."""
        for each in self._households:
            each.device.save_changes()
        await self._wait_for_acks(0)

    @contextmanager
    def during_outage(self) -> Iterator[None]:
        """Replay without waiting for acks while the block runs, because a shard is unavailable."""
        self._is_shard_unavailable = True
        try:
            yield
        finally:
            self._is_shard_unavailable = False

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
        await asyncio.sleep(OUTAGE_PAUSE_SECONDS if self._is_shard_unavailable else 0)
        self._require_running()
        if not self._is_shard_unavailable:
            await self._wait_for_acks(MAX_UNACKED)

    async def _wait_for_acks(self, limit: int) -> None:
        """Wait until at most `limit` deltas are not acked. Do not wait during an outage."""
        stalled_at = time.monotonic() + STALL_SECONDS
        while self.unacked_count > limit and not self._is_shard_unavailable:
            self._require_running()
            if time.monotonic() > stalled_at:
                raise DemoError(
                    f"{self.unacked_count} deltas were not acked within {STALL_SECONDS:g} s; "
                    "see the logs of the shards"
                )
            await asyncio.sleep(0.002)
