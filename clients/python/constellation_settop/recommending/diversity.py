"""Diversity: keeps a list from being a row of ten sequels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation_settop.recommending.catalogue import Catalogue, Rows

POOL_FACTOR: Final = 3
"""Content items that are considered for each place."""
MAX_PLACES: Final = 50
"""The places at the top of a list that are kept diverse; nobody looks at more at once."""
MAX_ALIKE: Final = 2
"""Content items of one list that may be alike."""
ALIKE_COSINE: Final = np.float32(0.75)
"""Two content items are alike when the cosine of their embeddings is larger than this."""


def diversify(catalogue: Catalogue, pool: Rows, limit: int) -> Rows:
    """Return up to `limit` rows of `pool`, the best first, where few at the top are alike.

    Rows are taken in order. One that is alike to MAX_ALIKE rows that were taken before waits, and
    follows when the places at the top are filled.
    """
    places = min(limit, MAX_PLACES)
    considered = pool[: POOL_FACTOR * places]
    if len(considered) <= MAX_ALIKE or limit <= MAX_ALIKE:
        return pool[:limit]
    is_alike = _compare(catalogue, considered)
    taken: list[int] = []
    for number in range(len(considered)):
        if len(taken) == places:
            break
        if np.count_nonzero(is_alike[number, taken]) < MAX_ALIKE:
            taken.append(number)
    rest = np.delete(pool, taken)
    return np.concatenate([pool[taken], rest])[:limit]


def _compare(catalogue: Catalogue, pool: Rows) -> NDArray[np.bool_]:
    codes = catalogue.columns.codes[pool].astype(np.float32)
    scales = catalogue.columns.unit_scales[pool]
    products = codes @ codes.T  # sums of products of INT8 numbers, which are exact in float32
    products *= scales[:, None]
    products *= scales
    alike: NDArray[np.bool_] = products > ALIKE_COSINE
    return alike
