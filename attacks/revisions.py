"""Revisions: households watch on between two epochs, and an attacker sees what is shown in both.

A coin decides whose devices watch one more film in each of two tastes. K - 1 accomplices on every
shard join beforehand with what they were shown, and revise or delete everything meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from attacks.crawl import crawl_all
from attacks.made_up import make_pattern
from attacks.world import ACCOMPLICES, K, name_household
from constellation_settop import View
from quality.schedule import ANY_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attacks.made_up import MadeUpDevice
    from attacks.world import World
    from constellation_settop.values import Embedding, Pattern

MAX_HOUSEHOLDS: Final = 120
TASTES: Final = 2
CLAIMS: Final = 16
"""Patterns that an accomplice claims."""
JOINS: Final = (0.6, 0.85)
"""Cosines of a film that joins a pattern, and changes it."""
SAME_COSINE: Final = 0.9995
"""Two embeddings with at least this cosine differ by rounding only."""
SHOWN_SUCCESS: Final = 0.9
"""Success rate of patterns that are shown for sure, also after one more view."""
STEP: Final = 0.2
"""How far an accomplice's claim lies from what it was shown."""
SITTING_SECONDS: Final = 7
"""Seconds between two households that watch."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One pattern of one household, and the film by which it changes, or would have."""

    household: str
    content_id: str
    before: Pattern
    is_watched: bool


@dataclass(frozen=True, slots=True, eq=False)
class Revisions:
    """What happened, which only the referee knows, and what was shown."""

    trials: Sequence[Revision]
    after: Mapping[tuple[str, bytes], Pattern]
    """The patterns of the households afterwards, by household and pattern id."""
    shown_before: Mapping[bytes, Pattern]
    shown_after: Mapping[bytes, Pattern]

    @property
    def vanished(self) -> Sequence[Pattern]:
        """What was shown before, and not afterwards."""
        return [each for name, each in self.shown_before.items() if name not in self.shown_after]

    @property
    def appeared(self) -> Sequence[Pattern]:
        """What is shown afterwards, and was not before."""
        return [each for name, each in self.shown_after.items() if name not in self.shown_before]


async def observe_revisions(world: World) -> Revisions:
    """Let half of the households watch on, and return what everybody could see of it."""
    accomplices = [world.make_device(shard) for shard in world.shards for _ in range(ACCOMPLICES)]
    seen = list((await crawl_all(world)).values())
    for device in accomplices:
        await _claim(world, device, seen)
    await world.wait_for_epoch()
    trials = _draw_trials(world)
    shown_before = await crawl_all(world)
    await world.watch(_plan_views(world, trials))
    for number, device in enumerate(accomplices):
        await _claim(world, device, seen if number % 2 else [])
    await world.wait_for_epoch()
    shown_after = await crawl_all(world)
    for device in accomplices:
        await device.replace_everything()
    names = {each.household for each in trials}
    after = {
        (name, pattern.pattern_id): pattern
        for name in names
        for pattern in world.read_patterns(name)
    }
    return Revisions(trials, after, shown_before, shown_after)


async def _claim(world: World, device: MadeUpDevice, seen: Sequence[Pattern]) -> None:
    chosen = world.random.sample(list(seen), min(CLAIMS, len(seen)))
    claims = [
        make_pattern(_step_aside(world, each.embedding), number)
        for number, each in enumerate(chosen)
    ]
    await device.replace_everything(claims)


def _step_aside(world: World, embedding: Embedding) -> Embedding:
    """Return an embedding so near that it joins the same group, and yet is known again."""
    row = world.random.randrange(len(world.films.embeddings))
    moved = embedding + np.float32(STEP) * world.films.embeddings[row]
    unit: Embedding = (moved / np.linalg.norm(moved)).astype(np.float32)
    return unit


def _plan_views(world: World, trials: Sequence[Revision]) -> Mapping[str, Sequence[View]]:
    """Return the views of the households that watch: each in one sitting, one after another."""
    views: dict[str, list[View]] = {}
    now = world.take_hour()
    for trial in trials:
        if trial.is_watched:
            number = len(views) if trial.household not in views else len(views) - 1
            moment = now - SITTING_SECONDS * (number + 1)
            view = View(trial.content_id, 1.0, 1.0, watched_at=moment, context=ANY_TIME)
            views.setdefault(trial.household, []).append(view)
    return views


def _draw_trials(world: World) -> list[Revision]:
    """Return households with their two strongest patterns and a film for each, and toss coins."""
    taken = world.list_watched()
    lonely = _find_lonely(world)
    drawn: list[list[Revision]] = []
    for household in world.households:
        name = name_household(household)
        patterns = world.read_patterns(name)
        strongest = sorted(
            (each for each in patterns if each.pattern_id in lonely),
            key=lambda each: -each.sample_count,
        )[: 2 * TASTES]
        revisions: list[Revision] = []
        for pattern in strongest:
            if len(revisions) == TASTES:
                break
            if (film := _find_film(world, pattern, taken, patterns)) is not None:
                taken.add(film)
                revisions.append(Revision(name, film, pattern, is_watched=False))
        if len(revisions) == TASTES:
            drawn.append(revisions)
    drawn = drawn[: MAX_HOUSEHOLDS // 2 * 2]
    coins = [True, False] * (len(drawn) // 2)
    world.random.shuffle(coins)
    return [
        Revision(each.household, each.content_id, each.before, coin)
        for revisions, coin in zip(drawn, coins, strict=False)
        for each in revisions
    ]


def _find_lonely(world: World) -> set[bytes]:
    """Return the ids of good patterns whose embedding fewer than K patterns of the fleet have.

    Only these say anything of one household.
    """
    patterns = [
        pattern
        for household in world.households
        for pattern in world.read_patterns(name_household(household))
        if pattern.success_rate >= SHOWN_SUCCESS
    ]
    embeddings = np.stack([each.embedding for each in patterns])
    counts = (embeddings @ embeddings.T >= SAME_COSINE).sum(axis=1)
    return {
        each.pattern_id for each, count in zip(patterns, counts.tolist(), strict=True) if count < K
    }


def _find_film(
    world: World, pattern: Pattern, taken: set[str], patterns: Sequence[Pattern]
) -> str | None:
    """Return a film that nobody has watched and that joins this pattern of a household."""
    own = np.stack([each.embedding for each in patterns])
    position = next(at for at, each in enumerate(patterns) if each is pattern)
    cosines = world.films.embeddings @ own.T
    mine = cosines[:, position]
    fits = (mine >= JOINS[0]) & (mine <= JOINS[1]) & (cosines.argmax(axis=1) == position)
    for row in np.flatnonzero(fits).tolist():
        if (content_id := world.films.films[row].content_id) not in taken:
            return content_id
    return None
