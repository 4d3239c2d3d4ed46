"""What a household gains from others: recommendations without and with the global state."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop import Brain, Context
from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from constellation_settop import Catalogue, Pattern, Recommendation
    from constellation_settop.values import SimilarPattern
    from examples.demo.households import Household
    from testing.viewings import Viewings

RECOMMENDATION_LIMIT: Final = 20
ANY_TIME: Final = Context()


@dataclass(frozen=True, slots=True)
class SharedFilm:
    """A film that similar patterns of other households were learned from."""

    content_id: str
    patterns: int
    """How many of them were."""
    similarity: float
    """The largest of their similarities."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The recommendations of one household, without and with what others learned."""

    household: Household
    before: Sequence[Recommendation]
    """Without the global state."""
    after: Sequence[Recommendation]
    """With the global state."""

    @property
    def hits_before(self) -> int:
        """Held-out films among `before`."""
        return _count_hits(self.household, self.before)

    @property
    def hits_after(self) -> int:
        """Held-out films among `after`."""
        return _count_hits(self.household, self.after)

    @property
    def gain(self) -> int:
        """Held-out films that the global state adds."""
        return self.hits_after - self.hits_before

    @property
    def patterns(self) -> list[Pattern]:
        """The household's own patterns of enough quality to share, the strongest first."""
        good = [
            each
            for each in self.household.device.brain.patterns
            if each.success_rate >= self.household.outbox.quality_threshold
        ]
        return sorted(good, key=lambda each: -each.success_rate * min(each.sample_count, 16))

    @property
    def similar(self) -> Collection[SimilarPattern]:
        """Similar patterns of other households."""
        return self.household.outbox.global_state.similar.values()

    @property
    def shared_films(self) -> list[SharedFilm]:
        """The films that similar patterns were learned from, those of most patterns first."""
        similarities: dict[str, list[float]] = {}
        for each in self.similar:
            for content_id in each.pattern.content_ids:
                similarities.setdefault(content_id, []).append(each.similarity)
        films = [
            SharedFilm(name, len(cosines), max(cosines)) for name, cosines in similarities.items()
        ]
        return sorted(films, key=lambda film: (-film.patterns, -film.similarity, film.content_id))


async def compare_households(
    catalogue: Catalogue, households: Iterable[Household]
) -> list[Comparison]:
    """Recommend twice for every household that has films held out."""
    comparisons = []
    for household in households:
        if household.held_out:
            alone = Brain(
                catalogue, household.outbox.read_learned(), household.outbox.read_watched()
            )
            before = alone.recommend(ANY_TIME, RECOMMENDATION_LIMIT)
            after = household.device.recommend(ANY_TIME, RECOMMENDATION_LIMIT)
            comparisons.append(Comparison(household, before, after))
            await asyncio.sleep(0)
    return comparisons


def choose_example(comparisons: Sequence[Comparison]) -> Comparison:
    """Return the household that gained the most.

    Among several, it is the one whose strongest pattern was learned from the most views.
    """
    return max(comparisons, key=lambda each: (each.gain, _count_views(each)))


def rank_most_liked(watched: Viewings) -> list[str]:
    """Return the ids of liked films, those that the most households liked first.

    This is a baseline. It ignores taste, but needs the ratings of all households.
    """
    liked = Counter(watched.content_ids[watched.ratings >= LIKED].tolist())
    return [content_id for content_id, _ in liked.most_common()]


def compute_hit_rate(ranked: Sequence[str], watched: Viewings, held_out: Viewings) -> float:
    """Return the share of households with a held-out film among the first of one list.

    Every household gets the same list, without the films that it has watched.
    """
    households = np.unique(held_out.households)
    found = 0
    for household in households:
        seen = set(watched.content_ids[watched.households == household].tolist())
        wanted = set(held_out.content_ids[held_out.households == household].tolist())
        found += not wanted.isdisjoint(
            islice((name for name in ranked if name not in seen), RECOMMENDATION_LIMIT)
        )
    return round(found / max(len(households), 1), 4)


def _count_hits(household: Household, choices: Sequence[Recommendation]) -> int:
    return sum(choice.content_id in household.held_out for choice in choices)


def _count_views(comparison: Comparison) -> int:
    """Return how many views the household's strongest pattern was learned from."""
    return comparison.patterns[0].sample_count if comparison.patterns else 0
