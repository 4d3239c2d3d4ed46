"""SimilarSearch: finds the patterns of other devices near a device's taste, in micro-batches."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.table.change import is_shared
from constellation.encoding import ID_BYTES, Embeddings, normalise_codes
from constellation.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.index.pattern_index import PatternIndex
    from constellation.core.rows import PatternRows, Slots
    from constellation.core.rules import Rules
    from constellation.core.table.shard_table import Table

TASTE_QUERIES: Final = 8
"""Strongest patterns of a device that are searched for, each with its own query.

    Their average would be near none of a device's several tastes.
"""
_EVIDENCE_CAP: Final = 16
"""Samples of a pattern that count for its strength."""
_BATCH_QUERIES: Final = 64
"""Queries in one call of the index, unless one request alone has more."""
_BATCH_LIMIT: Final = 1024
"""Results per query, at most."""
_SAMPLE_MARGIN: Final = 4
"""Rows examined for each one that a sample returns."""


@dataclass(frozen=True, slots=True, eq=False)
class SimilarPatterns:
    """Patterns near one or several queries, nearest first."""

    rows: PatternRows
    """Copies of the rows when they were found, without the terms that must not be shown."""
    similarities: NDArray[np.float32]
    """Shape (n,): the cosine with the nearest query."""
    pseudonyms: Sequence[bytes]
    """16 bytes each: a pseudonym names one revision of one pattern, but not its device."""

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


class SimilarSearch:
    """Searches the index. Requests that wait together become one call of the index."""

    def __init__(self, table: Table, index: PatternIndex, rules: Rules, secret: bytes) -> None:
        self._table = table
        self._index = index
        self._rules = rules
        self._secret = secret
        self._waiting: deque[_Request] = deque()
        self._arrived = asyncio.Event()
        self.search_seconds = Histogram()
        """Durations of the calls of the index."""

    def compute_taste(self, device: int) -> Embeddings:
        """Return the embeddings of a device's strongest patterns, strongest first.

        The strength is the success rate times the sample count, capped at 16 samples.
        """
        rows = self._table.patterns[self._find_own_slots(device)]
        weights = rows["success_rate"] * np.minimum(rows["sample_count"], _EVIDENCE_CAP)
        strongest = np.argsort(-weights, kind="stable")[:TASTE_QUERIES]
        return normalise_codes(rows["codes"][strongest])

    async def search_for_device(
        self, device: int, taste: Embeddings, limit: int
    ) -> SimilarPatterns:
        """Return up to `limit` shared patterns of other devices near a device's taste.

        There are none where devices get only what has noise: a few devices cannot hide in it.
        """
        if not len(taste) or self._rules.is_noised_only:
            return self._build_result(np.empty(0, np.int64), np.empty(0, np.float32))
        return await self.search(
            taste, limit, excluded_device=device, own_count=int(self._table.pattern_counts[device])
        )

    async def search(
        self, queries: Embeddings, limit: int, *, excluded_device: int = -1, own_count: int = 0
    ) -> SimilarPatterns:
        """Return up to `limit` shared patterns near unit-length queries.

        The patterns of `excluded_device`, a row number, are left out; it has `own_count` of them.
        """
        lsn = self._table.totals.lsn
        loop = asyncio.get_running_loop()
        request = _Request(queries, min(limit + own_count, _BATCH_LIMIT), loop.create_future())
        self._waiting.append(request)
        self._arrived.set()
        scores, slots = await request.result

        slots, scores = _merge_results(slots, scores)
        enough = limit + own_count  # copying whole rows costs more than finding them, so not all
        chosen = self._find_usable(slots[:enough], lsn, excluded_device)
        if len(chosen) < limit:  # some changed since the search
            chosen = self._find_usable(slots, lsn, excluded_device)
        return self._build_result(slots[chosen[:limit]], scores[chosen[:limit]])

    def sample(self, limit: int) -> SimilarPatterns:
        """Return up to `limit` shared patterns, evenly spread over the slots.

        Returns the same patterns until one changes. It examines few more rows than it returns, so
        where hardly any pattern is shared it may return fewer than there are.
        """
        used = self._table.pattern_allocator.high_water
        examined = np.unique(
            np.linspace(0, used - 1, min(used, limit * _SAMPLE_MARGIN)).astype(int)
        )
        shared = examined[self._find_usable(examined, self._table.totals.lsn, -1)]
        picked = shared[np.linspace(0, len(shared) - 1, min(limit, len(shared))).astype(int)]
        return self._build_result(picked, np.ones(len(picked), np.float32))

    def _find_usable(self, slots: Slots, lsn: int, excluded_device: int) -> NDArray[np.int64]:
        """Return the positions of the slots that did not change after `lsn` and may be shown."""
        rows = self._table.patterns[slots]
        usable = is_shared(rows, self._rules) & (rows["lsn"] <= lsn)
        usable &= self._table.counts_for_others(rows["device"])
        return np.flatnonzero(usable & (rows["device"] != excluded_device))

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
        started = time.perf_counter()
        scores, slots = await asyncio.to_thread(self._index.search, queries, limit)
        self.search_seconds.observe(time.perf_counter() - started)
        start = 0
        for request in batch:
            end = start + len(request.queries)
            if not request.result.done():  # its caller was cancelled
                request.result.set_result((scores[start:end], slots[start:end]))
            start = end

    def _find_own_slots(self, device: int) -> Slots:
        return self._table.find_patterns(np.array([device], np.int64)).slots

    def _build_result(self, slots: Slots, similarities: NDArray[np.float32]) -> SimilarPatterns:
        """Return the patterns at these slots, without terms that too few devices support."""
        rows = self._table.patterns[slots]
        supported = self._table.has_support(rows["contents"], self._rules.k_anonymity)
        rows["contents"][~supported] = 0
        rows["genres"][~self._table.public_genres[rows["genres"]]] = 0
        rows.flags.writeable = False
        pseudonyms = [
            _derive_pseudonym(self._secret, slot, lsn)
            for slot, lsn in zip(slots.tolist(), rows["lsn"].tolist(), strict=True)
        ]
        return SimilarPatterns(rows, similarities, pseudonyms)


def _merge_results(slots: Slots, scores: NDArray[np.float32]) -> tuple[Slots, NDArray[np.float32]]:
    """Return each slot of several queries once, with its highest score, best first."""
    flat_slots, flat_scores = slots.ravel(), scores.ravel()
    order = np.lexsort((flat_slots, -flat_scores))
    order = order[flat_slots[order] >= 0]
    _, first = np.unique(flat_slots[order], return_index=True)
    best = order[np.sort(first)]
    return flat_slots[best], flat_scores[best]


def _derive_pseudonym(secret: bytes, slot: int, lsn: int) -> bytes:
    """Return a keyed hash of a slot and the lsn that last changed it."""
    revision = slot.to_bytes(8, "little") + lsn.to_bytes(8, "little")
    return blake2b(revision, digest_size=ID_BYTES, key=secret).digest()
