"""Canaries: single households like a pair that nobody else likes. Where does it show?

One household likes the first film of a pair, few like the second, and nobody likes both. A coin
decides whether a household then does. Attackers see related rows and lists of popular content of
the rounds before and after; a member of the federation sees what shards tell it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, cycle
from typing import TYPE_CHECKING, Final

import grpc
import numpy as np

from attacks.game import score_advantage
from attacks.results import Goal, Outcome
from attacks.world import ACCOMPLICES, K, name_household
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from constellation_settop import View
from quality.fleet import Federation
from quality.schedule import ANY_TIME
from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from attacks.made_up import MadeUpDevice
    from attacks.world import World
    from constellation_settop.values import RelatedRow

PAIR: Final = Goal(
    "related_pair",
    "look for the pair of a single household among related rows",
    "advantage",
    reach=0.02,
    least=0.3,
)
ACCOMPLICE_PAIR: Final = Goal(
    "related_pair_accomplices",
    f"the same with {ACCOMPLICES} accomplices who like every such pair",
    "advantage",
    reach=0.02,
    least=0.5,
)
ROW: Final = Goal(
    "related_row_difference",
    "see from the row of a film, compared with the round before, that one more household likes it",
    "advantage",
    reach=None,
    least=0.1,
)
POPULAR: Final = Goal(
    "popular_difference",
    "see from the number of households of a popular film, compared with the round before, that one "
    "more household likes it",
    "advantage",
    reach=0.02,
    least=0.5,
)
MEMBER: Final = Goal(
    "federation_likes",
    "as a member of the federation, read the counts of likes that a shard tells it",
    "advantage",
    reach=None,
    least=0.5,
)
ROUNDS: Final = 3
"""The first round finds which films are liked, the second counts pairs, the third knows both."""
MIN_LIKERS: Final = 2 * K - 1
PAIRS_OF_A_HOUSEHOLD: Final = 2
"""The most pairs of films that a household likes; the films have nothing to do with each other."""
TEAM_PAIRS: Final = 12
"""Pairs that the same accomplices like: a row has room for 32 neighbours."""
MAX_PAIRS: Final = 304
MAX_SINGLES: Final = 60
_DEADLINE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A pair of films, and the household that likes both, or would have."""

    household: str
    named: str
    """The film whose row the attacker asks for."""
    other: str
    """The film that would show in the row."""
    is_liked: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """What attackers know after a round."""

    weights: Mapping[str, Mapping[str, float]]
    """The rows of related content, by their film."""
    popular: Mapping[str, int]
    """How many households like each popular film."""
    likes: Mapping[str, int]
    """Devices that like each film, summed over what shards tell a federation."""


async def run(world: World) -> list[Outcome]:
    """Let households like pairs: without accomplices, then with them."""
    pairs = _draw_pairs(world)
    half = len(pairs) // 4 * 2
    alone, together = pairs[:half], pairs[half:]
    async with Federation.open(world.fleet, "pairs", world.protection.federation) as federation:
        seen = await _play(world, federation, alone, 0)
    settings = world.protection.against_accomplices
    async with Federation.open(world.fleet, "accomplices", settings) as federation:
        seen_together = await _play(world, federation, together, ACCOMPLICES)
    return [
        _score(PAIR, alone, _find_pairs(alone, *seen)),
        _score(ACCOMPLICE_PAIR, together, _find_pairs(together, *seen_together)),
        _score(MEMBER, alone, _count_likes_seen(alone, *seen)),
    ]


async def run_differences(world: World) -> list[Outcome]:
    """Let households like what is popular, and compare two rounds."""
    singles = _draw_singles(world)
    async with Federation.open(world.fleet, "singles", world.protection.federation) as federation:
        seen = await _play(world, federation, singles, 0)
    return [
        _score(ROW, singles, _find_changes(singles, *seen)),
        _score(POPULAR, singles, _find_growth(singles, *seen)),
    ]


def _score(goal: Goal, trials: Sequence[Trial], values: Sequence[float]) -> Outcome:
    return Outcome(goal, score_advantage(values, [each.is_liked for each in trials]))


@dataclass(frozen=True, slots=True)
class _Likes:
    """What households like and have watched: only the referee knows."""

    liked: Mapping[str, set[str]]
    watched: Mapping[str, set[str]]
    counts: Counter[str]
    homes: list[str]
    """The households, in an order of chance; each as many times as it may be taken."""


def _read_likes_of_households(world: World, times: int = 1) -> _Likes:
    liked: dict[str, set[str]] = {}
    watched: dict[str, set[str]] = {}
    for home in world.households:
        name, films = name_household(home), home.watched
        liked[name] = set(films.content_ids[films.ratings >= LIKED].tolist())
        watched[name] = set(films.content_ids.tolist())
    counts = Counter(film for films in liked.values() for film in films)
    homes = sorted(liked)
    world.random.shuffle(homes)
    homes *= times
    return _Likes(liked, watched, counts, homes)


def _draw_pairs(world: World) -> list[Trial]:
    """Return trials with a rare film and another one, and a household that has watched neither."""
    known = _read_likes_of_households(world, PAIRS_OF_A_HOUSEHOLD)
    rare = sorted(film for film, count in known.counts.items() if count == 1)
    others = sorted(film for film, count in known.counts.items() if 1 < count < MIN_LIKERS)
    world.random.shuffle(rare)
    world.random.shuffle(others)
    pairs = []
    for film, other in zip(rare, cycle(others), strict=False):
        is_new = not any({film, other} <= films for films in known.liked.values())
        if is_new and (home := _take_home(known, {film, other})):
            pairs.append((home, film, other))
    return _toss(world, pairs[:MAX_PAIRS], 8)


def _draw_singles(world: World) -> list[Trial]:
    """Return trials with a popular film, and a household that has not watched it."""
    known = _read_likes_of_households(world)
    popular = [film for film, count in known.counts.most_common() if count >= MIN_LIKERS]
    singles = [(home, film, film) for film in popular if (home := _take_home(known, {film}))]
    return _toss(world, singles[:MAX_SINGLES], 4)


def _take_home(known: _Likes, films: set[str]) -> str | None:
    """Take a household that has watched none of the films; None when none is left."""
    found = next((home for home in known.homes if not known.watched[home] & films), None)
    if found is not None:
        known.homes.remove(found)
    return found


def _toss(world: World, drawn: Sequence[tuple[str, str, str]], multiple: int) -> list[Trial]:
    drawn = drawn[: len(drawn) // multiple * multiple]
    coins = [True, False] * (len(drawn) // 2)
    world.random.shuffle(coins)
    return [Trial(*each, coin) for each, coin in zip(drawn, coins, strict=True)]


async def _play(
    world: World, federation: Federation, trials: Sequence[Trial], accomplices: int
) -> tuple[Observation, Observation]:
    """Return what is seen before and after the households like what the coins said."""
    teams = [
        await _form_team(world, trials[start : start + TEAM_PAIRS], accomplices)
        for start in range(0, len(trials), TEAM_PAIRS)
    ]
    leaders = [team[0] for team in teams]
    before = await _observe(world, federation, leaders)
    now = world.take_hour()
    views: dict[str, list[View]] = {}
    for trial in trials:
        if trial.is_liked:
            views.setdefault(trial.household, []).extend(
                View(film, 1.0, 1.0, watched_at=now, context=ANY_TIME)
                for film in dict.fromkeys((trial.named, trial.other))
            )
    await world.watch(views)
    after = await _observe(world, federation, leaders)
    for device in chain.from_iterable(teams):
        await device.replace_everything()
    return before, after


async def _form_team(
    world: World, trials: Sequence[Trial], accomplices: int
) -> Sequence[MadeUpDevice]:
    """Return made-up devices: K - 1 that like every pair, or one that likes the first films."""
    named = [trial.named for trial in trials]
    both = list(dict.fromkeys([*named, *(trial.other for trial in trials)]))
    team = [
        world.make_device(world.shards[number % len(world.shards)])
        for number in range(max(1, accomplices))
    ]
    for device in team:
        await device.replace_everything(liked=both if accomplices else named)
    return team


async def _observe(
    world: World, federation: Federation, leaders: Sequence[MadeUpDevice]
) -> Observation:
    """Run rounds; return what the leaders are sent, and what shards tell a federation."""
    for _ in range(ROUNDS):
        await federation.run_round()
    likes: Counter[str] = Counter()
    for address in world.fleet.shard_addresses:
        likes.update(await _read_likes(address))
    states = [await device.pull() for device in leaders]
    weights = {
        row.content_id: _to_weights(row) for state in states for row in state.related.values()
    }
    popular = {
        film: households
        for state in states
        for each in state.popular.values()
        if not each.region
        for film, households in zip(each.content_ids, each.households, strict=True)
    }
    return Observation(weights, popular, likes)


def _to_weights(row: RelatedRow) -> Mapping[str, float]:
    codes = np.frombuffer(row.weights, np.int8).tolist()
    return {name: code * 2.0**-row.shift for name, code in zip(row.neighbours, codes, strict=True)}


async def _read_likes(address: str) -> dict[str, int]:
    """Return the likes that a shard sends to any caller with the role of a federation."""
    likes: dict[str, int] = {}
    async with grpc.aio.insecure_channel(address) as channel:
        call = AggregateServiceStub(channel).PullAggregate(
            pb.PullAggregateRequest(include_likes=True), timeout=_DEADLINE_SECONDS
        )
        async for chunk in call:
            if chunk.HasField("likes"):
                likes.update(zip(chunk.likes.content_ids, chunk.likes.devices, strict=True))
    return likes


def _find_pairs(trials: Sequence[Trial], before: Observation, after: Observation) -> list[float]:
    """Return for each trial how much the weight of the pair grew."""

    def read(observation: Observation, trial: Trial) -> float:
        return observation.weights.get(trial.named, {}).get(trial.other, 0.0)

    return [read(after, each) - read(before, each) for each in trials]


def _find_changes(trials: Sequence[Trial], before: Observation, after: Observation) -> list[float]:
    """Return for each trial how much the weights of the row differ."""
    changes = []
    for trial in trials:
        old, new = before.weights.get(trial.named, {}), after.weights.get(trial.named, {})
        scale = sum(abs(each) for each in old.values()) or 1.0
        names = sorted(old.keys() | new.keys())
        changes.append(sum(abs(new.get(n, 0.0) - old.get(n, 0.0)) for n in names) / scale)
    return changes


def _count_likes_seen(
    trials: Sequence[Trial], before: Observation, after: Observation
) -> list[float]:
    """Return for each trial how many more devices like the film, as the federation sees it."""
    return [float(after.likes.get(t.named, 0) - before.likes.get(t.named, 0)) for t in trials]


def _find_growth(trials: Sequence[Trial], before: Observation, after: Observation) -> list[float]:
    """Return for each trial how many more households like the film, by the list of all regions."""
    return [
        float(after.popular.get(each.named, 0) - before.popular.get(each.named, 0))
        for each in trials
    ]
