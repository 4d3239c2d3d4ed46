"""Rows of related content from noised counts; no exact count is used here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from federation.related.rows import keep_unchanged, make_rows
from federation.related.solve import solve_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from federation.related.result import RelatedRules
    from federation.related.rows import RelatedRow

NOISE_FLOOR: Final = 3.0
"""A pair below this many standard deviations counts as never liked together: it is likely noise."""
_NOISE_REGULARISATION: Final = 4.0
"""Lambda is at least this many times the noise times the square root of the content items: twice
the largest eigenvalue that a symmetric matrix of so much noise has."""


def solve_noised_rows(
    content_ids: Sequence[str],
    likes: Mapping[str, int],
    noised: NDArray[np.float64],
    scale: float,
    known: Sequence[RelatedRow],
    rules: RelatedRules,
) -> list[RelatedRow]:
    """Return the rows of the content items of the dictionary.

    `likes` has the noised households of content items, `noised` those of each pair, with noise of
    standard deviation `scale`, and zeros on its diagonal. Both constants were chosen on the
    validation split (`make quality CASE=privacy`).
    """
    noised[noised < NOISE_FLOOR * scale] = 0
    is_shared = noised >= max(rules.min_households, 1)
    np.fill_diagonal(noised, [likes.get(each, 0) for each in content_ids])
    least = _NOISE_REGULARISATION * scale * math.sqrt(len(content_ids))
    weights = _solve_robustly(noised, max(rules.regularisation, least))
    rows = make_rows(content_ids, weights, is_shared, rules.neighbour_limit)
    return keep_unchanged(rows, known, content_ids, is_shared)


def _solve_robustly(gram: NDArray[np.float64], regularisation: float) -> NDArray[np.float64]:
    """Return the weights for the least regularisation, by doubling, that has a solution.

    Noise can make the matrix indefinite, which exact counts never are. Doubling ends, because the
    regularisation outgrows every negative eigenvalue.
    """
    while True:
        try:
            return solve_weights(gram.copy(), regularisation)
        except np.linalg.LinAlgError:
            regularisation *= 2
