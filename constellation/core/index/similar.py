"""SimilarSearch: finds the shared patterns near devices' tastes, in micro-batches."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.index.similar_batch import merge_results, read_tastes
from constellation.core.rows import PATTERN
from constellation.encoding import DIMENSION, Embeddings
from constellation.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.index.pattern_index import PatternIndex
    from constellation.core.rows import PatternRows, Slots
    from constellation.core.table.shard_table import Table

_BATCH_REQUESTS: Final = 32
"""Requests that are answered in one pass. Those that come meanwhile wait for the next."""
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

    def cut(self, start: int, end: int) -> SimilarPatterns:
        """Return the patterns from one position up to another."""
        return SimilarPatterns(
            self.rows[start:end], self.similarities[start:end], self.pseudonyms[start:end]
        )

    def select(self, positions: Sequence[int]) -> SimilarPatterns:
        """Return the patterns at these distinct ascending positions."""
        if len(positions) == len(self.pseudonyms):
            return self
        chosen = np.array(positions, np.int64)
        return SimilarPatterns(
            self.rows[chosen], self.similarities[chosen], [self.pseudonyms[p] for p in positions]
        )


@dataclass(frozen=True, slots=True, eq=False)
class FoundPatterns:
    """What was searched for, and what was found."""

    queries: Embeddings
    """Of unit length; those of a device are its taste, strongest first."""
    patterns: SimilarPatterns


_NO_QUERIES: Final[Embeddings] = np.empty((0, DIMENSION), np.float32)
NO_PATTERNS: Final = SimilarPatterns(np.empty(0, PATTERN), np.empty(0, np.float32), ())


@dataclass(slots=True, eq=False)
class _Request:
    """One search that waits for a micro-batch: near a device's taste, or near queries."""

    device_id: bytes
    """Whose taste; empty when `queries` are given."""
    queries: Embeddings
    limit: int
    lsn: int
    """The last commit when it arrived."""
    result: asyncio.Future[FoundPatterns]


class SimilarSearch:
    """Searches the index. Requests that wait together are answered in one pass."""

    def __init__(self, table: Table, index: PatternIndex) -> None:
        self._table = table
        self._index = index
        self._waiting: deque[_Request] = deque()
        self._arrived = asyncio.Event()
        self.search_seconds = Histogram()
        """Durations of the calls of the index."""

    def compute_taste(self, device: int) -> Embeddings:
        """Return the embeddings of a device's strongest patterns, strongest first."""
        return read_tastes(self._table, np.array([device]))[0]

    async def search(self, queries: Embeddings, limit: int) -> SimilarPatterns:
        """Return up to `limit` shared patterns near unit-length queries."""
        if not len(queries):
            return NO_PATTERNS
        return (await self._wait_for_result(b"", queries, limit)).patterns

    async def search_near(self, device_id: bytes, limit: int) -> FoundPatterns:
        """Return the taste of a device, and up to `limit` shared patterns near it.

        There is nothing for a device that is unknown or has no patterns.
        """
        return await self._wait_for_result(device_id, _NO_QUERIES, limit)

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
                count = min(len(self._waiting), _BATCH_REQUESTS)
                await self._answer([self._waiting.popleft() for _ in range(count)])

    async def _wait_for_result(
        self, device_id: bytes, queries: Embeddings, limit: int
    ) -> FoundPatterns:
        result: asyncio.Future[FoundPatterns] = asyncio.get_running_loop().create_future()
        lsn = self._table.totals.lsn
        self._waiting.append(_Request(device_id, queries, limit, lsn, result))
        self._arrived.set()
        return await result

    async def _answer(self, batch: Sequence[_Request]) -> None:
        """Search for the queries of all requests together, and give each its result."""
        queries, positions = self._read_queries(batch)
        limits = np.array([request.limit for request in batch])
        count = min(int(limits.max()) + _SPARE_RESULTS, _BATCH_LIMIT)
        scores, slots = await self._search_index(queries, count)
        found = merge_results(scores, slots, positions)
        rows = self._table.groups.rows
        lsns = np.array([request.lsn for request in batch])
        is_unchanged = rows["sample_count"][found.slots] > 0
        is_unchanged &= rows["lsn"][found.slots] <= lsns[found.requests]
        found = found.select(is_unchanged).cut(limits)
        patterns = self._build_result(found.slots, found.scores)
        numbers = np.arange(len(batch) + 1)
        ends = np.searchsorted(found.requests, numbers).tolist()
        query_ends = np.searchsorted(positions, numbers).tolist()
        for number, request in enumerate(batch):
            if not request.result.done():  # its caller was cancelled
                request.result.set_result(
                    FoundPatterns(
                        queries[query_ends[number] : query_ends[number + 1]],
                        patterns.cut(ends[number], ends[number + 1]),
                    )
                )

    async def _search_index(
        self, queries: Embeddings, count: int
    ) -> tuple[NDArray[np.float32], Slots]:
        if not len(queries):
            return np.empty((0, count), np.float32), np.empty((0, count), np.int64)
        started = time.perf_counter()
        found = await asyncio.to_thread(self._index.search, queries, count)
        self.search_seconds.observe(time.perf_counter() - started)
        return found

    def _read_queries(self, batch: Sequence[_Request]) -> tuple[Embeddings, NDArray[np.int64]]:
        """Return the queries of some requests, and the ascending positions of their requests."""
        ids = [request.device_id for request in batch]
        known = [number for number, device_id in enumerate(ids) if device_id]
        devices = np.full(len(batch), -1)
        if known:
            devices[known] = self._table.find_devices([ids[number] for number in known])
        tastes, positions = read_tastes(self._table, devices)
        if len(known) == len(batch):
            return tastes, positions
        given = [request.queries for request in batch]
        owners = np.repeat(np.arange(len(batch)), list(map(len, given)))
        owners = np.concatenate([positions, owners])
        order = np.argsort(owners, kind="stable")
        return np.concatenate([tastes, *given])[order], owners[order]

    def _build_result(self, groups: Slots, similarities: NDArray[np.float32]) -> SimilarPatterns:
        """Return the shared patterns of these groups, without genres that the catalogue lost."""
        rows = self._table.groups.rows[groups]
        rows["genres"][~self._table.public_genres[rows["genres"]]] = 0
        rows.flags.writeable = False
        return SimilarPatterns(rows, similarities, rows["pattern_id"].tolist())
