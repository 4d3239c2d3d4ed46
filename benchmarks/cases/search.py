"""Search on real patterns: time and recall@10, compared with exact search over the same rows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.report import Measurement, compare
from constellation.core.index.pattern_index import PatternIndex
from constellation.encoding import Embeddings, normalise_codes
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PATTERNS: Final = 100_000
_QUERIES: Final = 512
_BATCH: Final = 64
_LIMIT: Final = 100
_RECALL_AT: Final = 10


def measure() -> list[Measurement]:
    """Compare an index with more patterns than its exact limit to one that searches exactly."""
    codes = sample_patterns(_PATTERNS + _QUERIES)
    stored, queries = codes[:_PATTERNS], normalise_codes(codes[_PATTERNS:])
    slots = np.arange(_PATTERNS)
    ours, exact = PatternIndex(stored), PatternIndex(stored, exact_limit=_PATTERNS + 1)
    for index in (ours, exact):
        index.apply(slots[:0], slots, stored)
        if index.is_rebuild_due():
            index.rebuild()
    our_ms, our_scores = _measure_search(ours, queries)
    exact_ms, exact_scores = _measure_search(exact, queries)
    recall = _compute_recall(our_scores, exact_scores)
    baseline = f"exact search, {_PATTERNS:,} patterns"
    return [
        compare("search_top_100", our_ms, "ms", baseline, exact_ms),
        compare("search_recall_at_10", recall, "", baseline, 1.0),
    ]


def _measure_search(index: PatternIndex, queries: Embeddings) -> tuple[float, NDArray[np.float32]]:
    """Return the milliseconds for each query in micro-batches, and all scores."""
    batches = [queries[at : at + _BATCH] for at in range(0, len(queries), _BATCH)]
    index.search(batches[0], _LIMIT)
    started = time.perf_counter()
    scores = [index.search(batch, _LIMIT)[0] for batch in batches]
    seconds = time.perf_counter() - started
    return seconds / len(queries) * 1000, np.concatenate(scores)


def _compute_recall(found: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the share of the found top 10 whose score is at least that of the true tenth.

    It compares scores instead of slots, because real patterns have exact ties, which are all right.
    """
    tenth = exact[:, _RECALL_AT - 1, None] - 1e-6
    return float((found[:, :_RECALL_AT] >= tenth).mean())
