"""Membership: has anybody here watched X? Asked by made-up devices that may claim X themselves.

The game: of films that nobody has watched, a coin decides which ones a household then watches. The
attacker sees everything before and after, has K - 1 accomplices with a pattern of exactly X, and
says for each film what the coin was.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from attacks.game import score_advantage
from attacks.made_up import make_pattern
from attacks.results import Goal, Outcome
from attacks.world import ACCOMPLICES, name_household
from constellation_settop import View
from constellation_settop.values import Subject
from quality.schedule import ANY_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attacks.made_up import MadeUpDevice
    from attacks.world import Shard, World
    from constellation_settop.values import GlobalState

STRANGER: Final = Goal(
    "membership_stranger",
    "ask with a made-up device whether anybody has watched a film",
    "advantage",
    reach=0.02,
    least=0.5,
)
ACCOMPLICE: Final = Goal(
    "membership_accomplices",
    f"the same with {ACCOMPLICES} accomplices who claim the film, in patterns and as watched",
    "advantage",
    reach=0.02,
    least=0.5,
)
MAX_TRIALS: Final = 800
FILMS_OF_A_HOUSEHOLD: Final = 4
"""A household watches at most so many of the films, half of them in each game."""
CLAIMS: Final = 64
"""Patterns that fit into the delta of one accomplice."""
FILMS_OF_A_QUESTION: Final = 2
"""A device is sent few patterns, so it asks about few films at once."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One film, and what the coin said."""

    content_id: str
    household: str
    """The household that watches it, or would have."""
    is_watched: bool


async def run(world: World) -> list[Outcome]:
    """Play the game twice: alone, then with accomplices."""
    trials = _draw_trials(world)
    half = len(trials) // 2
    alone = await _play(world, trials[:half], 0)
    together = await _play(world, trials[half:], ACCOMPLICES)
    return [
        Outcome(STRANGER, score_advantage(alone, [each.is_watched for each in trials[:half]])),
        Outcome(ACCOMPLICE, score_advantage(together, [each.is_watched for each in trials[half:]])),
    ]


def _draw_trials(world: World) -> list[Trial]:
    """Return films that nobody has watched, each with a household, and toss the coins."""
    names = [name_household(each) for each in world.households]
    count = min(MAX_TRIALS, FILMS_OF_A_HOUSEHOLD * len(names))
    coins = [True, False] * (count // 2)
    world.random.shuffle(coins)
    chosen = world.take_unwatched(len(coins))
    return [
        Trial(content_id, names[number % len(names)], coin)
        for number, (content_id, coin) in enumerate(zip(chosen, coins, strict=True))
    ]


async def _play(world: World, trials: Sequence[Trial], accomplices: int) -> list[float]:
    """Return for each trial how much more there is of its film after it was watched, or was not."""
    by_shard = {
        shard.shard_id: [t for t in trials if world.find_shard(t.household) is shard]
        for shard in world.shards
    }
    for shard in world.shards:
        here = by_shard[shard.shard_id]
        for start in range(0, len(here), CLAIMS):
            for _ in range(accomplices):
                device = world.make_device(shard)
                await _claim(world, device, here[start : start + CLAIMS])
    await world.wait_for_epoch()
    before = await _measure_all(world, by_shard)
    now = world.take_hour()
    views: dict[str, list[View]] = {}
    for trial in trials:
        if trial.is_watched:
            view = View(trial.content_id, 1.0, 1.0, watched_at=now, context=ANY_TIME)
            views.setdefault(trial.household, []).append(view)
    await world.watch(views)
    await world.wait_for_epoch()
    after = await _measure_all(world, by_shard)
    return [after[each.content_id] - before[each.content_id] for each in trials]


async def _claim(world: World, device: MadeUpDevice, trials: Sequence[Trial]) -> None:
    """Let an accomplice claim a pattern of each film alone, and that it watched them."""
    claims = [
        make_pattern(world.get_embedding(each.content_id), number, content_ids=[each.content_id])
        for number, each in enumerate(trials)
    ]
    films = [each.content_id for each in trials]
    await device.replace_everything(claims, signals=films[:4], liked=films)


async def _measure_all(world: World, by_shard: Mapping[int, Sequence[Trial]]) -> dict[str, float]:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_measure(world, shard, by_shard[shard.shard_id]))
            for shard in world.shards
        ]
    return {film: value for task in tasks for film, value in task.result().items()}


async def _measure(world: World, shard: Shard, trials: Sequence[Trial]) -> dict[str, float]:
    """Return how often each film shows: by its name, as a trend, and behind embeddings."""
    device = world.make_device(shard)
    counts: dict[str, float] = {}
    for start in range(0, len(trials), FILMS_OF_A_QUESTION):
        films = [each.content_id for each in trials[start : start + FILMS_OF_A_QUESTION]]
        state = await device.ask(*(world.get_embedding(each) for each in films))
        for film in films:
            counts[film] = _count(world, state, film)
    await device.replace_everything()
    return counts


def _count(world: World, state: GlobalState, film: str) -> float:
    named = sum(film in each.pattern.content_ids for each in state.similar.values())
    row = world.rows[film]
    decoded = sum(
        row in world.decoder.decode(each.pattern.embedding).rows for each in state.similar.values()
    )
    return named + decoded + (Subject(film) in state.trends)
