"""The world that is attacked: real shards, a real federation, and devices of real households."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import grpc
import numpy as np

from attacks.decoding import Decoder
from attacks.made_up import MadeUpDevice, list_named, make_pattern
from constellation.encoding import DIMENSION
from constellation.placement import find_owner
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from constellation_settop import Outbox, View
from constellation_settop.device import FILE_NAME
from constellation_settop.values import SECONDS_PER_HOUR, Pattern
from quality.devices import DeviceTask, Visit, make_device_id, open_pool
from quality.fleet import SHARD_SETTINGS, start_shards
from quality.schedule import make_views
from testing.catalogue import load_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub
    from constellation_settop.values import Embedding
    from quality.devices import DevicePool
    from quality.fleet import Fleet
    from quality.split import Household
    from testing.catalogue import FilmCatalogue

K: Final = 5
"""K_ANONYMITY of a protected world, which is the default."""
GROUP: Final = 2 * K - 1
"""The least number of households that a shared pattern merges, so that K of them are honest."""
ACCOMPLICES: Final = K - 1
"""Made-up devices that work together."""
FREE_HOURS: Final = 16
"""Hours before now in which households watch nothing but what an attack asks for."""
SEED: Final = 14
EPOCH_SETTINGS: Final = {"SHARED_PATTERNS_SECONDS": "1"}
"""Settings that shorten waiting, and protect as little or as much as the defaults."""
_EPOCH_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Protection:
    """Settings that protect a household, or do not."""

    name: str
    shard: Mapping[str, str]
    federation: Mapping[str, str]
    against_accomplices: Mapping[str, str]
    """Settings of the federation where accomplices attack it."""


OFF: Final = Protection(
    "off",
    {"K_ANONYMITY": "1"},
    {"GLOBAL_K_ANONYMITY": "1", "MIN_SHARDS": "1"},
    {"GLOBAL_K_ANONYMITY": str(K), "MIN_SHARDS": "1"},
)
"""A floor of K protects from strangers, but not from K - 1 accomplices."""
ON: Final = Protection(
    "on",
    {"K_ANONYMITY": str(K)},
    {"GLOBAL_K_ANONYMITY": str(GROUP)},
    {"GLOBAL_K_ANONYMITY": str(GROUP)},
)
"""The floor of the federation is the lowest that withstands accomplices; its default is 50."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard, as its devices reach it."""

    shard_id: int
    stub: SyncServiceAsyncStub


@dataclass(slots=True, eq=False)
class World:
    """Everything that runs, and what only the referee knows of the households."""

    fleet: Fleet
    pool: DevicePool
    shards: Sequence[Shard]
    films: FilmCatalogue
    protection: Protection
    households: Sequence[Household]
    random: Random = field(default_factory=lambda: Random(SEED))  # noqa: S311  # no secret
    rows: dict[str, int] = field(init=False)
    """The row of each film of the catalogue."""
    decoder: Decoder = field(init=False)

    _unwatched: list[str] = field(init=False)
    _hours: Iterator[int] = field(default_factory=lambda: iter(range(FREE_HOURS - 1, -1, -1)))

    def __post_init__(self) -> None:
        self.rows = {film.content_id: row for row, film in enumerate(self.films.films)}
        self.decoder = Decoder(self.films.embeddings)
        watched = self.list_watched()
        self._unwatched = [each for each in self.rows if each not in watched]
        self.random.shuffle(self._unwatched)

    def make_device(self, shard: Shard) -> MadeUpDevice:
        """Return a made-up device that this shard owns."""
        while True:
            device_id = self.random.randbytes(16)
            if find_owner(device_id, self.fleet.shard_map) == shard.shard_id:
                return MadeUpDevice(shard.stub, device_id)

    def find_shard(self, name: str) -> Shard:
        """Return the shard that owns the device of a household."""
        owner = find_owner(make_device_id(name), self.fleet.shard_map)
        return self.shards[owner]

    def get_embedding(self, content_id: str) -> Embedding:
        """Return the embedding of a film, which everybody knows."""
        embedding: Embedding = self.films.embeddings[self.rows[content_id]]
        return embedding

    def take_hour(self) -> float:
        """Return a time of an hour in which no household has watched anything.

        A device tells its shard of few films an hour, so attacks that share one would see less.
        Each hour is after the one before: a shard counts nothing older than what it has counted.
        """
        return time.time() - next(self._hours) * SECONDS_PER_HOUR

    async def watch(self, views: Mapping[str, Sequence[View]]) -> None:
        """Let devices of households watch, sync, and leave."""
        visit = Visit(self.fleet.folder, self.fleet.shard_map)
        await self.pool.visit(visit, [DeviceTask(name, each) for name, each in views.items()])

    async def wait_for_epoch(self) -> None:
        """Wait until every shard shows what it learned so far.

        Made-up households with one taste that nobody has come last: once their shared pattern is
        shown, an epoch has passed that had everything before it.
        """
        (film,) = self.take_unwatched(1)
        async with asyncio.timeout(_EPOCH_SECONDS), asyncio.TaskGroup() as group:
            for shard in self.shards:
                group.create_task(self._wait_for_marker(shard, film))

    async def _wait_for_marker(self, shard: Shard, film: str) -> None:
        taste = self._draw_taste()
        markers = [self.make_device(shard) for _ in range(GROUP)]
        for device in markers:
            await device.replace_everything([make_pattern(taste, content_ids=[film])])
        asking, questions = self.make_device(shard), [taste, self.get_embedding(film)]
        while film not in list_named(await asking.ask(*questions)):  # noqa: ASYNC110  # elsewhere
            await asyncio.sleep(_POLL_SECONDS)
        for device in (*markers, asking):
            await device.replace_everything()

    def _draw_taste(self) -> Embedding:
        """Return an embedding that is near to no film, so that nobody else has this taste."""
        numbers = [self.random.gauss(0, 1) for _ in range(DIMENSION)]
        unit: Embedding = (np.array(numbers) / np.linalg.norm(numbers)).astype(np.float32)
        return unit

    def take_unwatched(self, count: int) -> list[str]:
        """Return films that nobody has watched and no game has used, in an order of chance."""
        return [self._unwatched.pop() for _ in range(count)]

    def read_patterns(self, name: str) -> Sequence[Pattern]:
        """Return the patterns in the file of a household's device: only the referee may."""
        path = self.fleet.folder / name / FILE_NAME
        with Outbox.open(path) as outbox:
            return [learned.pattern for learned in outbox.read_learned()]

    def list_watched(self) -> set[str]:
        """Return every film that any household has watched."""
        return {each for home in self.households for each in home.watched.content_ids.tolist()}


def name_household(household: Household) -> str:
    """Return the name of a household's device."""
    return f"household-{household.number}"


@asynccontextmanager
async def start_world(
    protection: Protection, households: Sequence[Household]
) -> AsyncIterator[World]:
    """Start everything, and let every household watch its whole history."""
    films = load_catalogue()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="attacks-")))
        pool = stack.enter_context(open_pool())
        settings = {**SHARD_SETTINGS, **EPOCH_SETTINGS, **protection.shard}
        fleet = await stack.enter_async_context(start_shards(folder, films, settings))
        shards = [
            Shard(
                number,
                SyncServiceStub(
                    await stack.enter_async_context(grpc.aio.insecure_channel(address))
                ),
            )
            for number, address in enumerate(fleet.shard_addresses)
        ]
        world = World(fleet, pool, shards, films, protection, households)
        until = time.time() - FREE_HOURS * SECONDS_PER_HOUR
        await world.watch(
            {name_household(each): make_views(each.watched, until) for each in households}
        )
        await world.wait_for_epoch()
        yield world
