"""Merging: what is published of a group of patterns.

Everything is computed from integers, so that the same members give the same bytes anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    from constellation.core.table.standing import SupportFloor

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
    origins: NDArray[np.uint8],
    public_genres: NDArray[np.bool_],
    *,
    floor: SupportFloor,
    now: float,
) -> PatternRows:
    """Return what is published of each group: one row of PATTERN, without an id and an lsn.

    `members` are the rows of the groups' members, one group's after another's, at least one for
    each, and `origins` the origin numbers of their devices. Context, genres and content items are
    published when members that meet the `floor` agree on them; a genre must also be one of the
    catalogue's.
    """
    merged = np.zeros(len(sizes), PATTERN)
    if not len(sizes):
        return merged
    starts = np.cumsum(sizes) - sizes
    merged["codes"] = quantise(_add_vectors(members, starts).astype(np.float32))[0]
    rates = np.rint(members["success_rate"].astype(np.float64) * _UNIT).astype(np.int64)
    mean = np.add.reduceat(rates, starts) / (sizes * _UNIT)
    merged["success_rate"] = round_success(mean)
    counts = np.add.reduceat(members["sample_count"].astype(np.int64), starts) // sizes
    merged["sample_count"] = 1 << np.floor(np.log2(np.maximum(counts, 1))).astype(np.int64)
    source = _Members(np.repeat(np.arange(len(sizes)), sizes), origins, len(sizes))
    for name, last in _CONTEXTS.items():
        merged[name] = _choose_context(source, members[name], last, floor)
    genres = members["genres"] * public_genres[members["genres"]]
    merged["genres"] = _choose_terms(source, genres, floor, MAX_GENRES)
    merged["contents"] = _choose_terms(source, members["contents"], floor, MAX_CONTENTS)
    day = int(now) // _SECONDS_PER_DAY * _SECONDS_PER_DAY
    merged["created_at"] = merged["updated_at"] = day
    merged["device"] = floor.devices
    return merged


def round_success(rates: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return success rates as others see them: in steps of 1/16."""
    rounded: NDArray[np.float32] = (np.rint(rates * _SUCCESS_STEPS) / _SUCCESS_STEPS).astype(
        np.float32
    )
    return rounded


def _add_vectors(members: PatternRows, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    units = np.rint(normalise_codes(members["codes"]) * np.float32(_UNIT)).astype(np.int32)
    sums: NDArray[np.int64] = np.add.reduceat(units, starts, axis=0, dtype=np.int64)
    return sums


@dataclass(frozen=True, slots=True, eq=False)
class _Members:
    """Where the members of several groups belong, one entry for each member."""

    groups: NDArray[np.int64]
    origins: NDArray[np.uint8]
    count: int
    """The number of groups."""


def _choose_context(
    source: _Members, values: NDArray[np.uint8], last: int, floor: SupportFloor
) -> NDArray[np.int64]:
    """Return for each group the value that most of its members have; 0 when too few have it."""
    agreeing = np.zeros((last, source.count), np.int64)
    for value in range(1, last + 1):
        chosen = values == value
        groups, origins = source.groups[chosen], source.origins[chosen]
        agreeing[value - 1] = np.bincount(groups, minlength=source.count)
        agreeing[value - 1] *= floor.find_supported(groups, origins, source.count)
    return np.where(agreeing.max(axis=0) > 0, agreeing.argmax(axis=0) + 1, 0)


def _choose_terms(
    source: _Members, terms: NDArray[np.unsignedinteger], floor: SupportFloor, limit: int
) -> NDArray[np.int64]:
    """Return for each group the terms that enough members name, those of most members first.

    `terms` has a row for each member; 0 stands for none.
    """
    chosen = np.zeros((source.count, limit), np.int64)
    present = terms > 0
    member = np.broadcast_to(np.arange(len(source.groups))[:, None], terms.shape)[present]
    named = np.unique(np.column_stack([member, terms[present].astype(np.int64)]), axis=0)
    pairs, which, supports = np.unique(
        np.column_stack([source.groups[named[:, 0]], named[:, 1]]),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    supported = floor.find_supported(which.ravel(), source.origins[named[:, 0]], len(pairs))
    pairs, supports = pairs[supported], supports[supported]
    order = np.lexsort((pairs[:, 1], -supports, pairs[:, 0]))
    groups, numbers = pairs[order].T
    rank = np.arange(len(groups)) - np.searchsorted(groups, groups)
    kept = rank < limit
    chosen[groups[kept], rank[kept]] = numbers[kept]
    return chosen
