"""Recall: the share of the nearest patterns that the index finds, measured while it serves."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import BLOCK_ROWS
from constellation.encoding import normalise_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.index.pattern_index import PatternIndex
    from constellation.core.rows import Slots
    from constellation.core.table.groups import GroupTable
    from constellation.encoding import Embeddings

MAX_ROWS: Final = 1 << 20
"""Rows compared in one probe: about a second of one core."""
_MAX_QUERIES: Final = 32
"""Queries of one probe."""
_NEIGHBOURS: Final = 10
"""The k of recall@k."""
_COSINE_TOLERANCE: Final = np.float32(1e-5)
"""Cosines closer than this count as equal, so that another order of equals is no miss."""


@dataclass(frozen=True, slots=True)
class Recall:
    """The result of one probe."""

    ratio: float
    """recall@10: the share of each query's ten nearest patterns that the search returns."""
    search_seconds: float
    """The duration of one search for all queries of the probe."""


def measure_recall(
    groups: GroupTable,
    index: PatternIndex,
    random: np.random.Generator,
    *,
    max_rows: int = MAX_ROWS,
    block_rows: int = BLOCK_ROWS,
) -> Recall | None:
    """Search near some shared patterns, and compare the results with a sample of all.

    Up to `max_rows` rows the sample is the whole table, and the result is the recall@10 of these
    queries. In a larger table the sample is random blocks of `block_rows`, and results outside the
    sample cannot be judged. A sample of one row in n holds 10 / n of a query's ten nearest rows, so
    that many of the sample's nearest rows should be among the results. Rows farther from the query
    than the tenth result are no misses.

    Returns None when there are too few patterns to search. Belongs in a worker thread: rows may
    change meanwhile, which shows as a miss or two.
    """
    blocks, share = _sample_blocks(groups, random, max_rows, block_rows)
    slots = np.concatenate([slots for slots in blocks if len(slots)] or [np.empty(0, np.int64)])
    if len(slots) <= _NEIGHBOURS:
        return None
    asked = random.choice(slots, min(_MAX_QUERIES, len(slots)), replace=False)
    queries = _read_embeddings(groups, asked)
    started = time.perf_counter()
    scores, found = index.search(queries, _NEIGHBOURS + 1)
    seconds = time.perf_counter() - started
    scores = np.where((found != asked[:, None]) & _is_searchable(groups, found), scores, -np.inf)
    judged = np.where(np.isin(found, slots), scores, -np.inf)
    missed = _find_nearest_missed(groups, blocks, queries, np.column_stack([found, asked]))
    hits, expected = _count_hits(scores, judged, missed, math.ceil(_NEIGHBOURS * share))
    return Recall(hits / expected, seconds) if expected else None


def _count_hits(
    scores: NDArray[np.float32],
    judged: NDArray[np.float32],
    missed: NDArray[np.float32],
    limit: int,
) -> tuple[int, int]:
    """Return how many of each query's `limit` nearest rows were found, and how many should be.

    The arrays hold cosines, one row per query, -inf for none: `scores` of all results, `judged` of
    the results in the sample, and `missed` of the sample's nearest rows that are not results.
    """
    worst = np.sort(scores, axis=1)[:, -_NEIGHBOURS, None]
    last = -np.sort(-np.concatenate([judged, missed], axis=1), axis=1)[:, limit - 1, None]
    near = (judged > -np.inf) & (judged >= last - _COSINE_TOLERANCE)
    hits = np.minimum(near.sum(axis=1), limit)
    misses = (missed > worst + _COSINE_TOLERANCE).sum(axis=1)
    return int(hits.sum()), int(np.minimum(hits + misses, limit).sum())


def _sample_blocks(
    groups: GroupTable, random: np.random.Generator, max_rows: int, block_rows: int
) -> tuple[list[Slots], float]:
    """Return the searchable slots of random blocks, and the share of all blocks that these are."""
    used = groups.allocator.high_water
    starts = np.arange(0, used, block_rows)
    share = min(1.0, max_rows / block_rows / max(1, len(starts)))
    if share < 1.0:
        starts = np.sort(random.choice(starts, max_rows // block_rows, replace=False))
    blocks = [np.arange(start, min(start + block_rows, used)) for start in starts.tolist()]
    return [slots[_is_searchable(groups, slots)] for slots in blocks], share


def _is_searchable(groups: GroupTable, slots: Slots) -> NDArray[np.bool_]:
    """Return which slots a search may return; -1 means no result."""
    searchable: NDArray[np.bool_] = (slots >= 0) & (groups.rows["sample_count"][slots] > 0)
    return searchable


def _read_embeddings(groups: GroupTable, slots: Slots) -> Embeddings:
    """Return the embeddings at some slots; one that was deleted meanwhile is arbitrary."""
    codes = groups.rows["codes"][slots]
    codes[~codes.any(axis=1)] = 1
    return normalise_codes(codes)


def _find_nearest_missed(
    groups: GroupTable, blocks: list[Slots], queries: Embeddings, found: Slots
) -> NDArray[np.float32]:
    """Return the cosines of the rows nearest to each query that are not among its `found` slots.

    The shape is (q, _NEIGHBOURS), in no order; -inf where there are too few.
    """
    nearest = np.full((len(queries), _NEIGHBOURS), -np.inf, dtype=np.float32)
    of_query = np.broadcast_to(np.arange(len(queries))[:, None], found.shape)
    for block in blocks:
        cosines = queries @ _read_embeddings(groups, block).T
        positions = np.searchsorted(block, found)
        inside = positions < len(block)
        inside[inside] = block[positions[inside]] == found[inside]
        cosines[of_query[inside], positions[inside]] = -np.inf
        both = np.concatenate([nearest, cosines], axis=1)
        nearest = np.partition(both, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:]
    return nearest
