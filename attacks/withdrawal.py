"""Withdrawal: what do others still see of a household, one epoch after it took something back?

For each film, the least number of households of a shared pattern have a taste of exactly this film,
one of them a real device. It stops sharing, or forgets the film, so that one too few is left.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from attacks.game import score_share
from attacks.made_up import list_named, make_pattern
from attacks.results import Goal, Outcome
from attacks.world import GROUP
from constellation_settop import Device, DeviceSettings, Durability, SyncSettings, View
from examples.demo.households import to_settop_catalogue
from quality.devices import make_device_id
from quality.schedule import ANY_TIME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from attacks.world import Shard, World
    from constellation_settop import Catalogue

REMAINS: Final = Goal(
    "withdrawal",
    "look for what a household no longer shares, or made its device forget, one epoch later "
    "(protection off: it takes nothing back)",
    "films still named",
    reach=0.0,
    least=0.9,
)
FILMS: Final = 12
_CANDIDATES: Final = 120
"""Films of which those are taken that stand most alone."""
_SECONDS: Final = 60.0


async def run_protected(world: World) -> tuple[Outcome, Outcome]:
    """Return what is named before anything was taken back, and one epoch after."""
    shard = world.shards[0]
    films = _take_lonely(world, FILMS)
    names = _find_names(world, shard, len(films))
    companions = [world.make_device(shard) for _ in range(GROUP - 1)]
    for companion in companions:
        await companion.replace_everything(
            [
                make_pattern(world.get_embedding(film), number, content_ids=[film])
                for number, film in enumerate(films)
            ]
        )
    catalogue = to_settop_catalogue(world.films)
    for name, film in zip(names, films, strict=True):
        async with _open(world, shard, name, catalogue) as device:
            device.observe(View(film, 1.0, 1.0, context=ANY_TIME))
            await device.flush(_SECONDS)
    await world.wait_for_epoch()
    before = await _count_named(world, shard, films)
    for number, (name, film) in enumerate(zip(names, films, strict=True)):
        async with _open(world, shard, name, catalogue) as device:
            if number % 2:
                device.sharing = False
            else:
                device.forget(film)
            await device.flush(_SECONDS)
    await world.wait_for_epoch()
    after = await _count_named(world, shard, films)
    return (
        Outcome(REMAINS, score_share(before, len(films))),
        Outcome(REMAINS, score_share(after, len(films))),
    )


def _take_lonely(world: World, count: int) -> list[str]:
    """Return unwatched films far from all that households watched, and from each other.

    A pattern of anybody else that is near would take a place in the film's group, which then names
    nothing, because too few of its members have the film.
    """
    candidates = world.take_unwatched(_CANDIDATES)
    embeddings = np.stack([world.get_embedding(film) for film in candidates])
    watched = np.stack([world.get_embedding(film) for film in sorted(world.list_watched())])
    nearest = (embeddings @ watched.T).max(axis=1)
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, embeddings @ embeddings[chosen[-1]])
    return [candidates[number] for number in chosen]


def _find_names(world: World, shard: Shard, count: int) -> list[str]:
    """Return names of devices that one shard owns."""
    names = (f"leaver-{number}" for number in range(100 * count))
    return [name for name in names if world.find_shard(name) is shard][:count]


@asynccontextmanager
async def _open(
    world: World, shard: Shard, name: str, catalogue: Catalogue
) -> AsyncIterator[Device]:
    opening = Device.open(
        world.fleet.shard_addresses[shard.shard_id],
        data_dir=world.fleet.folder / name,
        catalogue=catalogue,
        settings=DeviceSettings(
            device_id=make_device_id(name),
            durability=Durability.PROCESS_CRASH,
            sync=SyncSettings(backoff_base_seconds=0.2, backoff_cap_seconds=2.0),
        ),
    )
    async with opening as device:
        yield device


async def _count_named(world: World, shard: Shard, films: Sequence[str]) -> int:
    """Return how many of the films any pattern that is shown names."""
    device, named = world.make_device(shard), 0
    for film in films:
        state = await device.ask(world.get_embedding(film))
        named += film in list_named(state)
    await device.replace_everything()
    return named
