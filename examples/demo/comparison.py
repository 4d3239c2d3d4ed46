"""What a household gains from others: recommendations without and with the global state."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop import Brain, Context
from quality.metrics import LIMIT, Quality, measure_quality, rank_unseen
from quality.models import count_likes, score_by_ease, score_by_popularity
from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from constellation_settop import Catalogue, Pattern, Recommendation
    from constellation_settop.values import SimilarPattern
    from examples.demo.data import DemoData
    from examples.demo.households import Household
    from testing.viewings import Viewings

RECOMMENDATION_LIMIT: Final = LIMIT
"""Films that each household is recommended, and that are judged."""
ANY_TIME: Final = Context()
ALONE: Final = "a television alone, from the week of its household"
POPULAR: Final = "(the films liked most, if a server knew all ratings)"
NEW: Final = "a new television, from the global state alone"
TOGETHER: Final = "a television with what others learned"
CEILING: Final = "(EASE, if a server knew all ratings)"
"""Who recommends. What is in brackets is no part of the system: nobody here knows all ratings."""


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


def judge_recommenders(
    data: DemoData, numbers: Sequence[int], recommended: Mapping[str, Sequence[Sequence[str]]]
) -> Mapping[str, Quality]:
    """Return how well the held-out films are recommended, by who recommends.

    `numbers` are the households that are judged. `recommended` has the content ids for each of
    them, the best first; what a household has watched takes no place in its list. Two recommenders
    are added that know the ratings of all these households: POPULAR and CEILING.
    """
    seen = _group_rows(data.watched, numbers)
    wanted = _group_rows(data.held_out, numbers)
    is_liked = data.watched.ratings >= LIKED
    likes = count_likes(_group_rows(data.watched.select(is_liked), numbers), len(data.films.films))
    find_row = {film.content_id: row for row, film in enumerate(data.films.films)}
    ranked = {
        POPULAR: rank_unseen(score_by_popularity(likes), seen),
        CEILING: rank_unseen(score_by_ease(likes), seen),
    }
    for name, lists in recommended.items():
        rows = [np.array([find_row[each] for each in content_ids]) for content_ids in lists]
        ranked[name] = [
            choices[~np.isin(choices, watched)] for choices, watched in zip(rows, seen, strict=True)
        ]
    return {
        name: measure_quality(lists, wanted, len(data.films.films))
        for name, lists in ranked.items()
    }


def _group_rows(viewings: Viewings, numbers: Sequence[int]) -> list[NDArray[np.int64]]:
    return [viewings.content_rows[viewings.households == number] for number in numbers]


def _count_hits(household: Household, choices: Sequence[Recommendation]) -> int:
    return sum(choice.content_id in household.held_out for choice in choices)


def _count_views(comparison: Comparison) -> int:
    """Return how many views the household's strongest pattern was learned from."""
    return comparison.patterns[0].sample_count if comparison.patterns else 0
