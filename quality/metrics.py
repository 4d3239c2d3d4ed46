"""How good recommendations are: NDCG, recall, hits and coverage of the first ten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LIMIT: Final = 10
"""Recommendations that count."""
Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
"""Rows of films in the catalogue."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over households, of the first LIMIT recommendations of each."""

    households: int
    ndcg: float
    """Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002), from 0 to 1.

    A found film at rank r, from 1, gains 1 / log2(r + 1). The sum is divided by the largest that
    the household's wanted films allow.
    """
    ndcg_error: float
    """Standard error of `ndcg` over households."""
    recall: float
    """Share of the wanted films that was found."""
    hit_rate: float
    """Share of households for which at least one wanted film was found."""
    coverage: float
    """Share of the catalogue that was recommended to at least one household."""


def compute_ndcg(ranked: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    """Return the NDCG of one list, the best first, which counts up to LIMIT."""
    gains = 1.0 / np.log2(np.arange(LIMIT) + 2.0)
    found = np.isin(ranked[:LIMIT], wanted)
    return float(gains[: len(found)][found].sum() / gains[: len(wanted)].sum())


def measure_quality(
    ranked: Sequence[NDArray[np.int64]], wanted: Sequence[NDArray[np.int64]], content_count: int
) -> Quality:
    """Return the quality of one list for each household. Every household must want something."""
    lists = [rows[:LIMIT] for rows in ranked]
    ndcgs = np.array([compute_ndcg(*pair) for pair in zip(lists, wanted, strict=True)])
    found = np.array([np.isin(*pair).sum() for pair in zip(lists, wanted, strict=True)])
    spread = float(ndcgs.std(ddof=1)) if len(ndcgs) > 1 else 0.0
    return Quality(
        households=len(ndcgs),
        ndcg=float(ndcgs.mean()),
        ndcg_error=spread / len(ndcgs) ** 0.5,
        recall=float((found / [len(rows) for rows in wanted]).mean()),
        hit_rate=float((found > 0).mean()),
        coverage=len(np.unique(np.concatenate(lists))) / content_count,
    )


def rank_unseen(
    scores: NDArray[np.floating], seen: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """Return the LIMIT best rows of each household, without what it has seen, the best first.

    `scores` has shape (households, contents); minus infinity is never recommended. Equal scores
    are in the order of the catalogue.
    """
    ranked = []
    for row, seen_rows in zip(scores, seen, strict=True):
        unseen = row.astype(np.float64)
        unseen[seen_rows] = -np.inf
        best = np.argsort(-unseen, kind="stable")[:LIMIT]
        ranked.append(best[unseen[best] > -np.inf])
    return ranked
