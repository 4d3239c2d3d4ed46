"""Merging: what is published of a group of patterns.

Everything is computed from integers, so that the same members give the same bytes anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import (
    LAST_CONTENT_TYPE,
    LAST_DAY_TYPE,
    LAST_TIME_OF_DAY,
    PATTERN,
    PatternRows,
)
from constellation.encoding import normalise_codes, quantise
from constellation.federated.terms import MAX_CONTENTS, MAX_GENRES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNIT: Final = 1 << 20
"""Numbers of unit vectors, and success rates, are added up in units of 2**-20."""
_SUCCESS_STEPS: Final = 16
"""A mean success rate is rounded to 1/16."""
_SECONDS_PER_DAY: Final = 86_400
_CONTEXTS: Final = {
    "time_of_day": LAST_TIME_OF_DAY,
    "day_type": LAST_DAY_TYPE,
    "content_type": LAST_CONTENT_TYPE,
}


def merge_groups(
    members: PatternRows,
    sizes: NDArray[np.int64],
    public_genres: NDArray[np.bool_],
    *,
    min_members: int,
    now: float,
) -> PatternRows:
    """Return what is published of each group: one row of PATTERN, without an id and an lsn.

    `members` are the rows of the groups' members, one group's after another's, at least one for
    each. Context, genres and content items are told when at least `min_members` of the members
    agree in them; a genre must be one of the catalogue's as well.
    """
    merged = np.zeros(len(sizes), PATTERN)
    if not len(sizes):
        return merged
    starts = np.cumsum(sizes) - sizes
    merged["codes"] = quantise(_add_vectors(members, starts).astype(np.float32))[0]
    rates = np.rint(members["success_rate"].astype(np.float64) * _UNIT).astype(np.int64)
    mean = np.add.reduceat(rates, starts) / (sizes * _UNIT)
    merged["success_rate"] = np.rint(mean * _SUCCESS_STEPS) / _SUCCESS_STEPS
    counts = np.add.reduceat(members["sample_count"].astype(np.int64), starts) // sizes
    merged["sample_count"] = 1 << np.floor(np.log2(np.maximum(counts, 1))).astype(np.int64)
    for name, last in _CONTEXTS.items():
        merged[name] = _choose_context(members[name], last, starts, min_members)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    genres = members["genres"] * public_genres[members["genres"]]
    merged["genres"] = _choose_terms(owners, genres, len(sizes), min_members, MAX_GENRES)
    merged["contents"] = _choose_terms(
        owners, members["contents"], len(sizes), min_members, MAX_CONTENTS
    )
    day = int(now) // _SECONDS_PER_DAY * _SECONDS_PER_DAY
    merged["created_at"] = merged["updated_at"] = day
    merged["device"] = min_members
    return merged


def _add_vectors(members: PatternRows, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    units = np.rint(normalise_codes(members["codes"]) * np.float32(_UNIT)).astype(np.int32)
    sums: NDArray[np.int64] = np.add.reduceat(units, starts, axis=0, dtype=np.int64)
    return sums


def _choose_context(
    values: NDArray[np.uint8], last: int, starts: NDArray[np.int64], min_members: int
) -> NDArray[np.int64]:
    """Return for each group the value that most of its members have, 0 when too few have it."""
    agreeing = np.stack(
        [np.add.reduceat((values == each).astype(np.int64), starts) for each in range(1, last + 1)]
    )
    return np.where(agreeing.max(axis=0) >= min_members, agreeing.argmax(axis=0) + 1, 0)


def _choose_terms(
    owners: NDArray[np.int64],
    terms: NDArray[np.unsignedinteger],
    count: int,
    min_members: int,
    limit: int,
) -> NDArray[np.int64]:
    """Return for each group the terms that enough members name, those of most members first.

    `owners` is each member's group, `terms` has a row for each member; 0 stands for none.
    """
    chosen = np.zeros((count, limit), np.int64)
    present = terms > 0
    member = np.broadcast_to(np.arange(len(owners))[:, None], terms.shape)[present]
    named = np.unique(np.column_stack([member, terms[present].astype(np.int64)]), axis=0)
    pairs, supports = np.unique(
        np.column_stack([owners[named[:, 0]], named[:, 1]]), axis=0, return_counts=True
    )
    pairs, supports = pairs[supports >= min_members], supports[supports >= min_members]
    order = np.lexsort((pairs[:, 1], -supports, pairs[:, 0]))
    groups, numbers = pairs[order].T
    rank = np.arange(len(groups)) - np.searchsorted(groups, groups)
    kept = rank < limit
    chosen[groups[kept], rank[kept]] = numbers[kept]
    return chosen
