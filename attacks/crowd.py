"""Crowd: what else did a household watch, when its taste is merged with just enough others?

Every household of a crowd watched one film, and half of them, each for itself, one more. A coin
decides which of two films that was for one household. The attacker knows both, and all but the
coin, and sees the shared pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from attacks.game import score_advantage
from attacks.made_up import make_pattern
from attacks.results import Goal, Outcome
from attacks.world import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attacks.made_up import MadeUpDevice
    from attacks.world import Shard, World
    from constellation_settop.values import Embedding, Pattern

CROWD: Final = Goal(
    "crowd",
    f"tell which of two films a household watched whose taste is merged with {GROUP - 1} others",
    "advantage",
    reach=0.02,
    least=0.9,
)
MAX_TRIALS: Final = 400
TRIALS_OF_A_CROWD: Final = 192
"""Every member has a pattern for each trial of its shard, and 64 fit into a delta."""
NEAR_COSINES: Final = (0.55, 0.75)
"""How near the other films of a crowd are to the common film, so that they join one pattern."""
OWN_FILMS: Final = GROUP // 2
"""Companions that watched one more film, each another one."""
_TIES: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Trial:
    """One crowd, and the two films of which its last household watches one."""

    shard: Shard
    common: str
    """The film that everybody in the crowd watched."""
    companions: Sequence[str]
    """The other films of the companions that watched any."""
    candidates: tuple[str, str]
    is_first: bool


async def run(world: World) -> list[Outcome]:
    """Let every crowd watch, and guess from what is shown."""
    trials = draw_trials(world)
    values: list[float] = []
    for start in range(0, len(trials), TRIALS_OF_A_CROWD):
        values += await _play(world, trials[start : start + TRIALS_OF_A_CROWD])
    return [Outcome(CROWD, score_advantage(values, [each.is_first for each in trials]))]


async def _play(world: World, trials: Sequence[Trial]) -> list[float]:
    """Let the crowds of some trials watch; return a guess for each trial."""
    devices = {shard.shard_id: _make_crowd(world, shard) for shard in world.shards}
    for shard in world.shards:
        here = [each for each in trials if each.shard is shard]
        for number, device in enumerate(devices[shard.shard_id]):
            await device.replace_everything(
                [claim(world, trial, number, row) for row, trial in enumerate(here)]
            )
    await world.wait_for_epoch()
    asking = {shard.shard_id: world.make_device(shard) for shard in world.shards}
    values = [await _guess(world, asking[trial.shard.shard_id], trial) for trial in trials]
    for device in (*asking.values(), *(each for crowd in devices.values() for each in crowd)):
        await device.replace_everything()
    return values


def _make_crowd(world: World, shard: Shard) -> Sequence[MadeUpDevice]:
    return [world.make_device(shard) for _ in range(GROUP)]


def draw_trials(world: World, limit: int = MAX_TRIALS) -> list[Trial]:
    """Return up to `limit` crowds of films that nobody has watched, and toss the coins."""
    films, embeddings = world.films.films, world.films.embeddings
    free = np.ones(len(films), bool)
    free[[world.rows[film] for film in world.list_watched()]] = False
    commons = np.flatnonzero(free).tolist()
    world.random.shuffle(commons)
    drawn: list[list[str]] = []
    for common in commons:
        cosines = embeddings @ embeddings[common]
        near = np.flatnonzero(
            free & (cosines >= NEAR_COSINES[0]) & (cosines <= NEAR_COSINES[1])
        ).tolist()
        if len(near) < OWN_FILMS + 2 or not free[common]:
            continue
        chosen = [common, *world.random.sample(near, OWN_FILMS + 2)]
        free[chosen] = False
        free &= cosines < NEAR_COSINES[0]  # crowds are far from each other
        drawn.append([films[row].content_id for row in chosen])
        if len(drawn) == limit:
            break
    drawn = drawn[: len(drawn) // 4 * 4]
    coins = [True, False] * (len(drawn) // 2)
    world.random.shuffle(coins)
    return [
        Trial(world.shards[number % len(world.shards)], each[0], each[3:], (each[1], each[2]), coin)
        for number, (each, coin) in enumerate(zip(drawn, coins, strict=True))
    ]


def claim(world: World, trial: Trial, number: int, row: int) -> Pattern:
    """Return the pattern of one member of a crowd: the first one is the household in question."""
    films = [trial.common]
    if number == 0:
        films.append(trial.candidates[not trial.is_first])
    elif number <= len(trial.companions):
        films.append(trial.companions[number - 1])
    return make_pattern(add_up(world, films), row, content_ids=films)


def add_up(world: World, films: Sequence[str]) -> Embedding:
    """Return the embedding of a taste for these films, as a device learns it."""
    total = np.sum([world.get_embedding(film) for film in films], axis=0)
    unit: Embedding = (total / np.linalg.norm(total)).astype(np.float32)
    return unit


async def _guess(world: World, device: MadeUpDevice, trial: Trial) -> float:
    """Return how much more of the first film than of the second there is in what is shown."""
    first, second = (world.rows[film] for film in trial.candidates)
    state = await device.ask(
        *(world.films.embeddings[row] for row in (first, second)), world.get_embedding(trial.common)
    )
    best = 0.0
    for similar in state.similar.values():
        pattern = similar.pattern
        named = [film in pattern.content_ids for film in trial.candidates]
        if named[0] != named[1]:
            return 2.0 * (named[0] - named[1])
        parts = dict.fromkeys((first, second), 0.0)
        decoded = world.decoder.decode(pattern.embedding)
        parts.update(zip(decoded.rows.tolist(), decoded.parts.tolist(), strict=True))
        difference = parts[first] - parts[second]
        if abs(difference) > max(abs(best), _TIES):
            best = difference
    return best
