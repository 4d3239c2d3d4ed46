"""SimilarSearch: finds the shared patterns near a device's taste, in micro-batches."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.index.partitioned import MIN_CANDIDATES
from constellation.encoding import Embeddings, normalise_codes
from constellation.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.index.pattern_index import PatternIndex
    from constellation.core.rows import PatternRows, Slots
    from constellation.core.table.shard_table import Table

TASTE_QUERIES: Final = 8
"""Strongest patterns of a device that are searched for, each with its own query.

    Their average would be near none of a device's several tastes.
"""
_SEVERAL_QUERIES: Final = 4
_CANDIDATES_OF_SEVERAL: Final = 100
"""Candidates of each query, when a request has several, whose results are merged.

    What one of them misses is seldom among the best of all.
"""
_EVIDENCE_CAP: Final = 16
"""Samples of a pattern that count for its strength."""
_BATCH_QUERIES: Final = 64
"""Queries in one call of the index, unless one request alone has more."""
_BATCH_LIMIT: Final = 1024
"""The most results per query."""
_SPARE_RESULTS: Final = 8
"""Results of each query beyond its limit, for shared patterns that change during the search."""


@dataclass(frozen=True, slots=True, eq=False)
class SimilarPatterns:
    """Shared patterns near one or several queries, nearest first."""

    rows: PatternRows
    """What was published of each, when it was found."""
    similarities: NDArray[np.float32]
    """Shape (n,): the cosine with the nearest query."""
    pseudonyms: Sequence[bytes]
    """16 bytes each: a pseudonym names one revision of one shared pattern."""

    def select(self, positions: Sequence[int]) -> SimilarPatterns:
        """Return the patterns at these positions."""
        chosen = np.array(positions, np.int64)
        return SimilarPatterns(
            self.rows[chosen], self.similarities[chosen], [self.pseudonyms[p] for p in positions]
        )


@dataclass(slots=True, eq=False)
class _Request:
    """One search that waits for a micro-batch."""

    queries: Embeddings
    limit: int
    result: asyncio.Future[tuple[NDArray[np.float32], Slots]]

    @property
    def min_candidates(self) -> int:
        """Likely matches that must be compared exactly with each query."""
        has_several = len(self.queries) >= _SEVERAL_QUERIES
        return _CANDIDATES_OF_SEVERAL if has_several else MIN_CANDIDATES


class SimilarSearch:
    """Searches the index. Requests that wait together become one call of the index."""

    def __init__(self, table: Table, index: PatternIndex) -> None:
        self._table = table
        self._index = index
        self._waiting: deque[_Request] = deque()
        self._arrived = asyncio.Event()
        self.search_seconds = Histogram()
        """Durations of the calls of the index."""

    def compute_taste(self, device: int) -> Embeddings:
        """Return the embeddings of a device's strongest patterns, strongest first.

        The strength is the success rate times the sample count, capped at 16 samples.
        """
        rows = self._table.patterns[self._table.list_patterns(device)]
        weights = rows["success_rate"] * np.minimum(rows["sample_count"], _EVIDENCE_CAP)
        strongest = np.argsort(-weights, kind="stable")[:TASTE_QUERIES]
        return normalise_codes(rows["codes"][strongest])

    async def search(self, queries: Embeddings, limit: int) -> SimilarPatterns:
        """Return up to `limit` shared patterns near unit-length queries."""
        if not len(queries):
            return self._build_result(np.empty(0, np.int64), np.empty(0, np.float32))
        lsn = self._table.totals.lsn
        loop = asyncio.get_running_loop()
        request = _Request(queries, min(limit + _SPARE_RESULTS, _BATCH_LIMIT), loop.create_future())
        self._waiting.append(request)
        self._arrived.set()
        scores, groups = await request.result

        groups, scores = _merge_results(groups, scores, request.limit)
        rows = self._table.groups.rows
        is_unchanged = (rows["sample_count"][groups] > 0) & (rows["lsn"][groups] <= lsn)
        chosen = np.flatnonzero(is_unchanged)[:limit]
        return self._build_result(groups[chosen], scores[chosen])

    def sample(self, limit: int) -> SimilarPatterns:
        """Return up to `limit` shared patterns, evenly spread over the groups.

        Returns the same patterns until one changes.
        """
        groups = self._table.groups
        published = np.flatnonzero(groups.rows["sample_count"][: groups.allocator.high_water])
        count = min(limit, len(published))
        picked = published[np.linspace(0, len(published) - 1, count).astype(int)]
        return self._build_result(picked, np.ones(len(picked), np.float32))

    async def search_forever(self) -> None:
        """Answer waiting requests, one micro-batch after another. Runs until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._search_batch(self._take_batch())

    def _take_batch(self) -> list[_Request]:
        batch = [self._waiting.popleft()]
        queries = len(batch[0].queries)
        while self._waiting and queries + len(self._waiting[0].queries) <= _BATCH_QUERIES:
            batch.append(self._waiting.popleft())
            queries += len(batch[-1].queries)
        return batch

    async def _search_batch(self, batch: list[_Request]) -> None:
        queries = np.concatenate([request.queries for request in batch])
        limit = max(request.limit for request in batch)
        candidates = max(request.min_candidates for request in batch)
        started = time.perf_counter()
        scores, slots = await asyncio.to_thread(self._index.search, queries, limit, candidates)
        self.search_seconds.observe(time.perf_counter() - started)
        start = 0
        for request in batch:
            end = start + len(request.queries)
            if not request.result.done():  # its caller was cancelled
                request.result.set_result((scores[start:end], slots[start:end]))
            start = end

    def _build_result(self, groups: Slots, similarities: NDArray[np.float32]) -> SimilarPatterns:
        """Return the shared patterns of these groups, without genres that the catalogue lost."""
        rows = self._table.groups.rows[groups]
        rows["genres"][~self._table.public_genres[rows["genres"]]] = 0
        rows.flags.writeable = False
        ids = [row_id.tobytes() for row_id in rows["pattern_id"]]
        return SimilarPatterns(rows, similarities, ids)


def _merge_results(
    slots: Slots, scores: NDArray[np.float32], limit: int
) -> tuple[Slots, NDArray[np.float32]]:
    """Return up to `limit` distinct slots of several queries, each with its highest score.

    The best come first; slots of the same score come in ascending order.
    """
    flat_slots, flat_scores = slots.ravel(), scores.ravel()
    order = np.lexsort((flat_slots, -flat_scores))
    best: dict[int, int] = {}
    for position, slot in zip(order.tolist(), flat_slots[order].tolist(), strict=True):
        if slot >= 0 and best.setdefault(slot, position) == position and len(best) == limit:
            break
    positions = list(best.values())
    return flat_slots[positions], flat_scores[positions]
