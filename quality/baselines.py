"""The centralised baselines on a split, and the related content computed in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from quality.losses import RECIPE, LossStudy
from quality.metrics import measure_quality, rank_unseen
from quality.models import (
    EASE_REGULARISATION,
    Matrix,
    count_likes,
    score_by_als,
    score_by_ease,
    score_by_item_knn,
    score_by_popularity,
    solve_ease,
)
from quality.results import Row
from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from quality.metrics import Quality
    from quality.split import Household

POPULARITY: Final = "popularity"
MIN_HOUSEHOLDS: Final = 3
"""Households that must like a content item before the ceiling of newcomers knows it."""
POPULAR_SHARES: Final = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""How much popularity may be blended into the ceiling of newcomers."""
_MODELS: Final[Sequence[tuple[str, str, Callable[[Matrix], Matrix]]]] = (
    (POPULARITY, "popularity: the most liked films", score_by_popularity),
    ("item_knn", "itemKNN, centralised", score_by_item_knn),
    ("ials", "iALS, centralised", score_by_als),
    ("ease", "EASE, centralised", score_by_ease),
)


def measure_baselines(households: Sequence[Household], content_count: int) -> list[Row]:
    """Return the quality of every centralised model, which knows all likes of all households."""
    likes = count_likes([each.liked_rows for each in households], content_count)
    liked = np.flatnonzero(likes.any(axis=0))  # no model can score the others
    rows = []
    for name, label, score in _MODELS:
        scores = np.full(likes.shape, -np.inf)
        scores[:, liked] = score(likes[:, liked])
        rows.append(_make_row(name, label, scores, households))
    economical = LossStudy(households, content_count).measure(RECIPE)
    return [*rows, Row("recipe", "EASE with all economies, centralised", economical)]


def measure_popularity(
    known: Sequence[Household], households: Sequence[Household], content_count: int
) -> Row:
    """Return the quality of the list that households `known` make popular, for others."""
    counts = count_likes([each.liked_rows for each in known], content_count).sum(axis=0)
    scores = np.broadcast_to(counts, (len(households), content_count))
    return _make_row(POPULARITY, "popularity: the most liked films", scores, households)


class NewcomerCeiling:
    """What centralised models reach for households of which they know the first views only.

    It is EASE of the likes of all other households, with the share of their popularity that is the
    best for these very households: no device can choose that, so it is an upper bound.
    """

    def __init__(
        self, known: Sequence[Household], newcomers: Sequence[Household], content_count: int
    ) -> None:
        likes = count_likes([each.liked_rows for each in known], content_count)
        self._liked = np.flatnonzero(likes.sum(axis=0) >= MIN_HOUSEHOLDS)
        likes = likes[:, self._liked]
        popularity: NDArray[np.float64] = likes.sum(axis=0)
        self._popularity = popularity / popularity.max()
        self._weights = solve_ease(likes.T @ likes, EASE_REGULARISATION)
        self._newcomers = newcomers
        self._content_count = content_count

    def measure(self, views: int) -> Quality:
        """Return the quality after the first `views` views of each newcomer."""
        liked = [
            each.watched.content_rows[:views][each.watched.ratings[:views] >= LIKED]
            for each in self._newcomers
        ]
        related = count_likes(liked, self._content_count)[:, self._liked] @ self._weights
        found = [self._measure(related + share * self._popularity) for share in POPULAR_SHARES]
        return max(found, key=lambda quality: quality.ndcg)

    def _measure(self, known_scores: Matrix) -> Quality:
        scores = np.full((len(self._newcomers), self._content_count), -np.inf)
        scores[:, self._liked] = known_scores
        return _make_row("ceiling", "", scores, self._newcomers).quality


def _make_row(name: str, label: str, scores: Matrix, households: Sequence[Household]) -> Row:
    ranked = rank_unseen(scores, [each.watched.content_rows for each in households])
    wanted = [each.wanted_rows for each in households]
    return Row(name, label, measure_quality(ranked, wanted, scores.shape[1]))
