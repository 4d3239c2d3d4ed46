"""Our index and its peers over the same vectors, searched in turns."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.report import Measurement, compare
from benchmarks.search_peers import SearchInput, start_peers
from benchmarks.tastes import make_named_patterns
from benchmarks.turns import Run, compare_runs, take_turns
from constellation.core.index.pattern_index import PatternIndex
from constellation.encoding import normalise_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.search_peers import RunningPeer
    from constellation.encoding import Codes, Embeddings

_QUERIES: Final = 512
_BATCH: Final = 64
"""Queries in one call, as `SimilarSearch` collects them."""
_LIMIT: Final = 100
_RECALL_AT: Final = 10
_TURNS: Final = 5
_EPOCH_QUERIES: Final = 300_000
"""Queries in an epoch of 300 s, over which its new index is counted; a shard for 4 M devices has
more than 1,000 a second."""
_TOLERANCE: Final = np.float32(1e-5)


@dataclass(frozen=True, slots=True)
class _OurIndex:
    index: PatternIndex
    build_seconds: float

    def measure(self, queries: Embeddings) -> Run:
        """Return what all queries cost, with their share of the index."""
        started = time.thread_time()
        for at in range(0, len(queries), _BATCH):
            self.index.search(queries[at : at + _BATCH], _LIMIT)
        share = self.build_seconds * len(queries) / _EPOCH_QUERIES
        return _to_run(time.thread_time() - started + share)


def compare_with_peers(
    count: int, names: Sequence[str], url: str, suffix: str
) -> list[Measurement]:
    """Return our queries for each second of processor time beside those of each peer.

    Each peer has the smallest ef that reaches a recall@10 of 0.95. Our index is built anew for each
    epoch, which is counted; that a peer must take in what changed is not.
    """
    codes = np.random.default_rng(1).permutation(make_named_patterns(count + _QUERIES).codes)
    stored, queries = codes[:count], normalise_codes(codes[count:])
    tenth = _find_tenth(stored, queries)
    ours = _build(stored)
    recall = _compute_recall(ours.index.search(queries, _RECALL_AT)[0], tenth)
    given = SearchInput(normalise_codes(stored), queries, tenth)
    with start_peers(given, names, url) as peers:
        sides = {peer.name: partial(_measure_peer, peer) for peer in peers}
        runs = take_turns({"ours": partial(ours.measure, queries), **sides}, _TURNS)
        texts = {peer.name: _describe(peer) for peer in peers}
    medians = {name: statistics.median(run.value for run in runs[name]) for name in texts}
    compared = [(f"search_vs_{name.replace('-', '_')}", name) for name in texts]
    if texts:
        compared.append(("search_vs_best_peer", max(medians, key=medians.__getitem__)))
    if databases := [name for name in texts if name != "hnswlib"]:
        compared.append(("search_vs_best_database", max(databases, key=medians.__getitem__)))
    return [
        compare(f"search_recall_at_10{suffix}", recall, "", "exact search", 1.0, "higher"),
        *(
            compare_runs(name + suffix, "queries/s", runs["ours"], texts[peer], runs[peer])
            for name, peer in compared
        ),
    ]


def _describe(peer: RunningPeer) -> str:
    return f"{peer.name}, ef {peer.built['ef']}, recall {peer.built['recall']:.3f}"


def _measure_peer(peer: RunningPeer) -> Run:
    return _to_run(peer.measure()["cpu"])


def _to_run(seconds: float) -> Run:
    return Run(_QUERIES / seconds, {"search": seconds / _QUERIES * 1e6})


def _build(stored: Codes) -> _OurIndex:
    index = PatternIndex(stored)
    started = time.thread_time()
    index.fill(np.arange(len(stored)))
    return _OurIndex(index, time.thread_time() - started)


def _find_tenth(stored: Codes, queries: Embeddings) -> NDArray[np.float32]:
    nearest = np.full((len(queries), _RECALL_AT), -np.inf, np.float32)
    for start in range(0, len(stored), 65_536):
        cosines = queries @ normalise_codes(stored[start : start + 65_536]).T
        both = np.concatenate([nearest, cosines], axis=1)
        nearest = np.partition(both, -_RECALL_AT, axis=1)[:, -_RECALL_AT:]
    tenth: NDArray[np.float32] = nearest.min(axis=1) - _TOLERANCE
    return tenth


def _compute_recall(scores: NDArray[np.float32], tenth: NDArray[np.float32]) -> float:
    """Return the share of the found top 10 that are as near as the true tenth.

    It compares cosines instead of slots, because patterns have exact ties, which are all right.
    """
    return float((scores >= tenth[:, None]).mean())
