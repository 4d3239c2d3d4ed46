"""Index structures under the same changes: the cost of searches and changes, and the recall."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from constellation.core.index.faiss import faiss
from constellation.core.index.pattern_index import PatternIndex
from constellation.encoding import DIMENSION, normalise_codes
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.core.rows import Slots
    from constellation.encoding import Codes, Embeddings

PATTERNS = 60_000
ROUNDS, CHANGES, QUERIES = 20, 250, 64
"""Each round replaces CHANGES patterns and runs QUERIES searches."""
GRAPH_START = 15_000
"""Patterns in the comparison with a graph, which would take minutes for PATTERNS."""


class IndexStructure(Protocol):
    def change(self, removed: Slots, added: Slots, codes: Codes) -> None: ...
    def find(self, queries: Embeddings, limit: int) -> Slots: ...


class OurIndex:
    """PatternIndex. It searches exactly when `exact_limit` is above the number of patterns."""

    def __init__(self, codes: Codes, count: int, exact_limit: int) -> None:
        self._index = PatternIndex(codes, exact_limit=exact_limit)
        self._index.apply(np.arange(0), np.arange(count), codes[:count])
        if self._index.is_rebuild_due():
            self._index.rebuild()

    def change(self, removed: Slots, added: Slots, codes: Codes) -> None:
        self._index.apply(removed, added, codes)

    def find(self, queries: Embeddings, limit: int) -> Slots:
        return self._index.search(queries, limit)[1]


class QuantisedIndex:
    """IVF with one byte for each number, without exact ranking."""

    def __init__(self, codes: Codes, count: int) -> None:
        self._ivf = faiss.index_factory(DIMENSION, "IVF489,SQ8", faiss.METRIC_INNER_PRODUCT)
        self._ivf.cp.niter = 6
        rows = normalise_codes(codes[:count])
        self._ivf.train(rows[:32_000])
        self._ivf.set_direct_map_type(faiss.DirectMap.Hashtable)
        self._ivf.add_with_ids(rows, np.arange(count))
        self._ivf.nprobe = 72

    def change(self, removed: Slots, added: Slots, codes: Codes) -> None:
        self._ivf.remove_ids(removed)
        self._ivf.add_with_ids(normalise_codes(codes), added)

    def find(self, queries: Embeddings, limit: int) -> Slots:
        slots: Slots = self._ivf.search(queries, limit)[1]
        return slots


class GraphIndex:
    """HNSW, which cannot remove rows: searches fetch more rows and drop the removed ones."""

    def __init__(self, codes: Codes, count: int) -> None:
        self._graph = faiss.IndexHNSWFlat(DIMENSION, 32, faiss.METRIC_INNER_PRODUCT)
        self._graph.hnsw.efConstruction, self._graph.hnsw.efSearch = 100, 128
        self._graph.add(normalise_codes(codes[:count]))
        self._slots = np.arange(count)

    def change(self, removed: Slots, added: Slots, codes: Codes) -> None:
        self._slots[np.isin(self._slots, removed)] = -1
        self._graph.add(normalise_codes(codes))
        self._slots = np.concatenate([self._slots, added])

    def find(self, queries: Embeddings, limit: int) -> Slots:
        slots = self._slots[self._graph.search(queries, 2 * limit)[1]]
        alive = np.argsort(slots < 0, axis=1, kind="stable")[:, :limit]
        return np.take_along_axis(slots, alive, axis=1)


@dataclass(frozen=True, slots=True)
class ChurnResult:
    recall: float
    search_ms: float
    changes_per_second: float


def run_churn(index: IndexStructure, codes: Codes, spare: Codes, count: int) -> ChurnResult:
    """Replace random patterns and search, in rounds. recall@10 is that of the last round."""
    random = np.random.default_rng(1)
    queries = normalise_codes(spare[:QUERIES])
    searching = changing = 0.0
    found = np.empty((0, 0), dtype=np.int64)
    for _ in range(ROUNDS):
        slots = random.choice(count, size=CHANGES, replace=False)
        codes[slots] = spare[random.integers(QUERIES, len(spare), size=CHANGES)]
        started = time.perf_counter()
        index.change(slots, slots, codes[slots])
        changed = time.perf_counter()
        found = index.find(queries, 50)
        changing += changed - started
        searching += time.perf_counter() - changed
    cosines = queries @ normalise_codes(codes[:count]).T
    tenth = np.partition(cosines, -10, axis=1)[:, -10] - 1e-6
    good = np.take_along_axis(cosines, found[:, :10], axis=1) >= tenth[:, None]
    query_count = ROUNDS * QUERIES
    return ChurnResult(good.mean(), searching / query_count * 1e3, ROUNDS * CHANGES / changing)


def main() -> None:
    patterns = sample_patterns(PATTERNS + 2000)
    spare = patterns[PATTERNS:]
    print(f"{'structure':28}{'patterns':>9}{'recall@10':>11}{'ms/query':>10}{'changes/s':>11}")
    for name, count in (
        ("exact rows", PATTERNS),
        ("IVF,RaBitQ + exact ranking", PATTERNS),
        ("IVF,SQ8", PATTERNS),
        ("IVF,RaBitQ + exact ranking", GRAPH_START),
        ("HNSW32, tombstones", GRAPH_START),
    ):
        codes = patterns[:count].copy()
        result = run_churn(build_index(name, codes, count), codes, spare, count)
        numbers = f"{result.recall:11.3f}{result.search_ms:10.2f}{result.changes_per_second:11,.0f}"
        print(f"{name:28}{count:9,}{numbers}", flush=True)


def build_index(name: str, codes: Codes, count: int) -> IndexStructure:
    if name == "IVF,SQ8":
        return QuantisedIndex(codes, count)
    if name.startswith("HNSW"):
        return GraphIndex(codes, count)
    return OurIndex(codes, count, exact_limit=10**9 if name == "exact rows" else 1000)


if __name__ == "__main__":
    main()
