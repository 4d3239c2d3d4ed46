"""Search for the top 100 and the time to build the index, compared with exact search."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.report import Measurement, compare
from benchmarks.tastes import make_named_patterns
from constellation.core.index.pattern_index import PatternIndex
from constellation.encoding import normalise_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

_PATTERNS: Final = 100_000
_QUERIES: Final = 512
_BATCH: Final = 64
_LIMIT: Final = 100
_RECALL_AT: Final = 10
_EPOCH_SECONDS: Final = 300.0


def measure() -> list[Measurement]:
    """Compare an index with more patterns than its exact limit to one that searches exactly."""
    codes = make_named_patterns(_PATTERNS + _QUERIES).codes
    codes = np.random.default_rng(1).permutation(codes)
    stored, queries = codes[:_PATTERNS], normalise_codes(codes[_PATTERNS:])
    slots = np.arange(_PATTERNS)
    ours, exact = PatternIndex(stored), PatternIndex(stored, exact_limit=_PATTERNS)
    started = time.thread_time()
    ours.fill(slots)
    build_seconds = time.thread_time() - started
    exact.fill(slots)
    our_ms, our_scores = _measure_search(ours, queries)
    exact_ms, exact_scores = _measure_search(exact, queries)
    recall = compute_recall(our_scores, exact_scores)
    baseline = f"exact search, {_PATTERNS:,} patterns"
    return [
        compare("search_top_100", our_ms, "ms", baseline, exact_ms),
        compare("search_recall_vs_exact", recall, "", baseline, 1.0, "higher"),
        compare("index_build", build_seconds, "s", "an epoch", _EPOCH_SECONDS),
    ]


def _measure_search(index: PatternIndex, queries: Embeddings) -> tuple[float, NDArray[np.float32]]:
    """Return the processor time for each query in micro-batches, in ms, and all scores."""
    batches = [queries[at : at + _BATCH] for at in range(0, len(queries), _BATCH)]
    index.search(batches[0], _LIMIT)
    started = time.thread_time()
    scores = [index.search(batch, _LIMIT)[0] for batch in batches]
    seconds = time.thread_time() - started
    return seconds / len(queries) * 1000, np.concatenate(scores)


def compute_recall(found: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the share of the found top 10 whose score is at least that of the true tenth.

    It compares scores instead of slots, because patterns have exact ties, which are all right.
    """
    tenth = exact[:, _RECALL_AT - 1, None] - 1e-6
    return float((found[:, :_RECALL_AT] >= tenth).mean())
