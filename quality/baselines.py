"""The centralised baselines on a split, and the related content computed in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from quality.losses import RECIPE, LossStudy
from quality.metrics import measure_quality, rank_unseen
from quality.models import (
    Matrix,
    count_likes,
    score_by_als,
    score_by_ease,
    score_by_item_knn,
    score_by_popularity,
)
from quality.results import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quality.split import Household

POPULARITY: Final = "popularity"
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


def _make_row(name: str, label: str, scores: Matrix, households: Sequence[Household]) -> Row:
    ranked = rank_unseen(scores, [each.watched.content_rows for each in households])
    wanted = [each.wanted_rows for each in households]
    return Row(name, label, measure_quality(ranked, wanted, scores.shape[1]))
