"""What each economy of the related content costs, measured offline on centralised data.

The federated model is EASE with economies: each device contributes a bounded number of likes, each
content item keeps a bounded number of neighbours that enough households share, and weights are
int8. Here one economy at a time is made stronger or weaker, from the same recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from quality.metrics import Quality, measure_quality, rank_unseen
from quality.models import Matrix, count_likes, keep_largest, solve_ease
from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from quality.split import Household

MIN_HOUSEHOLDS: Final = 3
"""Households that a content item needs to get weights: fewer say nothing, and cost time."""
INT8_LIMIT: Final = 127
MIDDLE_RATING: Final = 2.75
"""Between the ratings of films that were liked and those of films that were not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the related content is made, and how a device scores with it. The default is EASE."""

    liked_from: float = LIKED
    """The least rating of a film that a device contributes."""
    contribution: int | None = None
    """Liked films that one device contributes, its latest ones. None: all."""
    regularisation: float = 200.0
    """The lambda of EASE."""
    neighbours: int | None = None
    """Neighbours that each content item keeps, those of the largest weights. None: all."""
    floor: int = 1
    """Households that must like both content items of a published pair."""
    is_int8: bool = False
    """Round the weights to int8, with one scale for each content item."""
    has_negative: bool = True
    """Publish negative weights, too: "who liked this did not like that"."""
    half_life: float | None = None
    """Liked films after which an older one counts half on the device. None: all count alike."""
    has_dislikes: bool = False
    """A device counts each film by its rating, those that it disliked negatively."""


RECIPE: Final = Recipe(
    contribution=128, regularisation=100.0, neighbours=64, floor=5, is_int8=True, half_life=50.0
)
"""The recipe that every loss is measured from."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One recipe, and what it reaches."""

    economy: str
    """What was varied, such as "neighbours"."""
    value: str
    """Its value, such as "32"."""
    quality: Quality


def list_variants() -> Iterator[tuple[str, str, Recipe]]:
    """Yield every recipe that is measured, after what was varied and its value."""
    yield "recipe", "nothing saved: EASE", Recipe()
    yield "recipe", "all economies", RECIPE
    for contribution in (16, 32, 64, 128, None):
        yield (
            "contribution",
            str(contribution or "all"),
            replace(RECIPE, contribution=contribution),
        )
    for liked_from in (3.5, 4.0, 4.5):
        yield "contributed from rating", f"{liked_from:g}", replace(RECIPE, liked_from=liked_from)
    for regularisation in (50.0, 100.0, 200.0, 500.0):
        yield "lambda", f"{regularisation:g}", replace(RECIPE, regularisation=regularisation)
    for neighbours in (16, 32, 64, None):
        yield "neighbours", str(neighbours or "all"), replace(RECIPE, neighbours=neighbours)
    for floor in (1, 3, 5, 10, 50):
        yield "households that share a pair", str(floor), replace(RECIPE, floor=floor)
    yield "weights", "float64", replace(RECIPE, is_int8=False)
    yield "weights", "int8", RECIPE
    yield "weights", "int8, positive only", replace(RECIPE, has_negative=False)
    for half_life in (10.0, 30.0, 50.0, 100.0, None):
        value = "none" if half_life is None else f"{half_life:g}"
        yield "half-life of history", value, replace(RECIPE, half_life=half_life)
    yield "history", "liked only", RECIPE
    yield "history", "disliked negative", replace(RECIPE, has_dislikes=True)


class LossStudy:
    """Measures recipes on one split."""

    def __init__(self, households: Sequence[Household], content_count: int) -> None:
        """Prepare a study; `content_count` is the size of the catalogue."""
        self._households = households
        self._content_count = content_count
        self._solved: dict[tuple[float, int | None, float], tuple[Matrix, Matrix]] = {}

    def measure_all(self) -> list[Loss]:
        """Return the quality of every variant. Equal recipes are measured once."""
        known: dict[Recipe, Quality] = {}
        losses = []
        for economy, value, recipe in list_variants():
            if recipe not in known:
                known[recipe] = self.measure(recipe)
            losses.append(Loss(economy, value, known[recipe]))
        return losses

    def measure(self, recipe: Recipe) -> Quality:
        """Return the quality of one recipe."""
        pairs, weights = self.solve(recipe)
        published = publish_weights(weights, pairs, recipe)
        scores = np.full((len(self._households), self._content_count), -np.inf)
        histories = np.stack([self.weigh_history(each, recipe) for each in self._households])
        scores[:, self._known_rows] = histories[:, self._known_rows] @ published
        ranked = rank_unseen(scores, [each.watched.content_rows for each in self._households])
        wanted = [each.wanted_rows for each in self._households]
        return measure_quality(ranked, wanted, self._content_count)

    @cached_property
    def _known_rows(self) -> NDArray[np.int64]:
        """Rows of the content items that enough households like."""
        likes = count_likes([each.liked_rows for each in self._households], self._content_count)
        return np.flatnonzero(likes.sum(axis=0) >= MIN_HOUSEHOLDS)

    def solve(self, recipe: Recipe) -> tuple[Matrix, Matrix]:
        """Return the counts of pairs and the weights of EASE for what devices contribute."""
        key = recipe.liked_from, recipe.contribution, recipe.regularisation
        if key not in self._solved:
            contributed = [select_contribution(each, recipe) for each in self._households]
            likes = count_likes(contributed, self._content_count)[:, self._known_rows]
            pairs = likes.T @ likes
            self._solved[key] = pairs, solve_ease(pairs, recipe.regularisation)
        return self._solved[key]

    def weigh_history(self, household: Household, recipe: Recipe) -> NDArray[np.float64]:
        """Return how much each content item counts on a household's device, shape (contents,)."""
        history = np.zeros(self._content_count)
        watched = household.watched
        is_liked = watched.ratings >= LIKED
        later_likes = is_liked[::-1].cumsum()[::-1] - is_liked
        weights = (
            watched.ratings.astype(np.float64) - MIDDLE_RATING
            if recipe.has_dislikes
            else is_liked.astype(np.float64)
        )
        if recipe.half_life is not None:
            weights = weights * 0.5 ** (later_likes / recipe.half_life)
        history[watched.content_rows] = weights
        return history


def select_contribution(household: Household, recipe: Recipe) -> NDArray[np.int64]:
    """Return the rows of the films that a household's device contributes."""
    watched = household.watched
    liked = watched.content_rows[watched.ratings >= recipe.liked_from]
    return liked if recipe.contribution is None else liked[-recipe.contribution :]


def publish_weights(weights: Matrix, pairs: Matrix, recipe: Recipe) -> Matrix:
    """Return the weights that are published: few, shared by enough households, and rounded.

    Row i holds what a liked content item i adds to every other one.
    """
    published = np.where(pairs >= recipe.floor, weights, 0.0)
    if not recipe.has_negative:
        published = np.maximum(published, 0.0)
    if recipe.neighbours is not None:
        kept = keep_largest(np.abs(published), recipe.neighbours)
        published = np.where(kept > 0, published, 0.0)
    return round_to_int8(published) if recipe.is_int8 else published


def round_to_int8(weights: Matrix) -> Matrix:
    """Return weights rounded to multiples of a 127th of the largest one of their row."""
    scales = np.abs(weights).max(axis=1, keepdims=True) / INT8_LIMIT
    scales[scales == 0] = 1.0
    rounded: Matrix = np.rint(weights / scales) * scales
    return rounded
