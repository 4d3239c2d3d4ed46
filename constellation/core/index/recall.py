"""Recall: how much of what is nearest the index really finds, measured while it serves."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.table.change import is_shared
from constellation.encoding import normalise_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.index.pattern_index import PatternIndex
    from constellation.core.rows import Slots
    from constellation.core.rules import Rules
    from constellation.core.table.shard_table import Table
    from constellation.encoding import Embeddings

_MAX_QUERIES: Final = 32
_NEIGHBOURS: Final = 10
_MAX_ROWS: Final = 1 << 20
"""Rows compared at most: about a second of one core."""
_BLOCK: Final = 1 << 16
_COSINE_TOLERANCE: Final = np.float32(1e-5)
"""Cosines nearer than this are one and the same: the order of equals is nobody's miss."""


@dataclass(frozen=True, slots=True)
class Recall:
    """What a probe found."""

    ratio: float
    """recall@10: of the ten patterns nearest to each of some, the share that a search returns."""
    search_seconds: float
    """One search for all queries of the probe."""


def measure_recall(
    table: Table, index: PatternIndex, rules: Rules, random: np.random.Generator
) -> Recall | None:
    """Search near some stored patterns, and compare with every row of a sample of the table.

    Up to a million rows the sample is all of them, and this is recall@10 of the patterns asked
    for. Above, what was found outside of the sample cannot be judged. Of each query's ten nearest
    a sample of one row in n holds 10 / n: so many of the sample's nearest rows should have been
    found, except for those farther than the tenth that was, which may rightly be missing.

    Returns None while there is too little to search. Belongs in a worker thread: rows may change
    meanwhile, which shows as a miss or two.
    """
    blocks, share = _sample_blocks(table, rules, random)
    slots = np.concatenate([slots for slots in blocks if len(slots)] or [np.empty(0, np.int64)])
    if len(slots) <= _NEIGHBOURS:
        return None
    asked = random.choice(slots, min(_MAX_QUERIES, len(slots)), replace=False)
    queries = normalise_codes(table.patterns["codes"][asked])
    started = time.perf_counter()
    scores, found = index.search(queries, _NEIGHBOURS + 1)
    seconds = time.perf_counter() - started
    scores = np.where(
        (found != asked[:, None]) & _is_searchable(table, rules, found), scores, -np.inf
    )
    judged = np.where(np.isin(found, slots), scores, -np.inf)
    missed = _find_nearest_missed(table, blocks, queries, np.column_stack([found, asked]))
    hits, expected = _count_hits(scores, judged, missed, math.ceil(_NEIGHBOURS * share))
    return Recall(hits / expected, seconds) if expected else None


def _count_hits(
    scores: NDArray[np.float32],
    judged: NDArray[np.float32],
    missed: NDArray[np.float32],
    limit: int,
) -> tuple[int, int]:
    """Return how many of the `limit` nearest rows of each query were found, and should have been.

    All are cosines, a row for each query, -inf where there is none: of what was found, of what of
    that is in the sample, and of what is in the sample but was not found.
    """
    worst = np.sort(scores, axis=1)[:, -_NEIGHBOURS, None]
    last = -np.sort(-np.concatenate([judged, missed], axis=1), axis=1)[:, limit - 1, None]
    near = (judged > -np.inf) & (judged >= last - _COSINE_TOLERANCE)
    hits = np.minimum(near.sum(axis=1), limit)
    misses = (missed > worst + _COSINE_TOLERANCE).sum(axis=1)
    return int(hits.sum()), int(np.minimum(hits + misses, limit).sum())


def _sample_blocks(
    table: Table, rules: Rules, random: np.random.Generator
) -> tuple[list[Slots], float]:
    """Return the slots of shared patterns in blocks picked at random, and the share of blocks."""
    starts = np.arange(0, table.pattern_allocator.high_water, _BLOCK)
    share = min(1.0, _MAX_ROWS / _BLOCK / max(1, len(starts)))
    if share < 1.0:
        starts = np.sort(random.choice(starts, _MAX_ROWS // _BLOCK, replace=False))
    return [_select_searchable(table, rules, int(start)) for start in starts], share


def _select_searchable(table: Table, rules: Rules, start: int) -> Slots:
    slots = np.arange(start, min(start + _BLOCK, table.pattern_allocator.high_water))
    return slots[_is_searchable(table, rules, slots)]


def _is_searchable(table: Table, rules: Rules, slots: Slots) -> NDArray[np.bool_]:
    """Say of each slot whether a search should find it; of -1, too, which is none."""
    rows = table.patterns[slots]
    searchable: NDArray[np.bool_] = (
        (slots >= 0) & is_shared(rows, rules) & ~table.relocated[rows["device"]]
    )
    return searchable


def _find_nearest_missed(
    table: Table, blocks: list[Slots], queries: Embeddings, known: Slots
) -> NDArray[np.float32]:
    """Return the cosines of the rows nearest to each query, except for those known to it.

    The shape is (q, _NEAREST), in no order, -inf where there are too few.
    """
    nearest = np.full((len(queries), _NEIGHBOURS), -np.inf, dtype=np.float32)
    of_query = np.broadcast_to(np.arange(len(queries))[:, None], known.shape)
    for block in blocks:
        cosines = queries @ normalise_codes(table.patterns["codes"][block]).T
        positions = np.searchsorted(block, known)
        inside = positions < len(block)
        inside[inside] = block[positions[inside]] == known[inside]
        cosines[of_query[inside], positions[inside]] = -np.inf
        both = np.concatenate([nearest, cosines], axis=1)
        nearest = np.partition(both, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:]
    return nearest
