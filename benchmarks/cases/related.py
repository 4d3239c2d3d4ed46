"""Related content: solving for its weights, and a round of it with large shards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.report import Measurement, compare
from constellation.federated.aggregate import AggregateVersion
from constellation.federated.likes import DictionaryKey, PairRows
from federation.related.dictionary import Dictionary
from federation.related.result import RelatedInputs, RelatedRules, RelatedState, compute_related
from federation.related.shard_likes import ShardLikes
from federation.related.solve import solve_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TARGETS: Final = {2000: 2.0, 5000: 15.0}
"""By number of content items: the seconds that a solve may take."""
_HOUSEHOLDS: Final = 20_000
_SHARDS: Final = 3
_LIKED: Final = 60
"""Content items that a household likes, on average."""


def measure() -> list[Measurement]:
    """Measure the solve alone, then a whole computation from the pairs of shards to rows."""
    measurements = []
    for size, target in _TARGETS.items():
        gram = _make_gram(size, 0).astype(np.float64)
        started = time.perf_counter()
        solve_weights(gram, 200)
        seconds = time.perf_counter() - started
        name = f"related_solve_{size}_seconds"
        measurements.append(compare(name, seconds, "s", "the target", target))
        measurements.append(_measure_whole(size, seconds))
    return measurements


def _measure_whole(size: int, solve_seconds: float) -> Measurement:
    """Measure what a round does from the pairs of shards, in which every pair is present."""
    content_ids = [f"film:{number}" for number in range(size)]
    known = RelatedState(Dictionary(1, content_ids))
    shards = [("north", _make_shard(size, number)) for number in range(_SHARDS)]
    inputs = RelatedInputs(shards, content_ids, np.arange(size), 1, 1e9)
    started = time.perf_counter()
    result = compute_related(inputs, known, RelatedRules(dictionary_limit=size))
    seconds = time.perf_counter() - started
    assert len(result.state.rows) == size
    name = f"related_round_{size}_seconds"
    return compare(name, seconds, "s", "the solve alone", solve_seconds)


def _make_gram(size: int, seed: int) -> NDArray[np.int64]:
    """Return how many households like both of two content items; some are liked by far more."""
    random = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, size + 1) ** 0.5
    chances = np.minimum(popularity * (_LIKED / popularity.sum()), 0.9).astype(np.float32)
    matrix = (random.random((_HOUSEHOLDS, size), np.float32) < chances).astype(np.float32)
    gram: NDArray[np.int64] = (matrix.T @ matrix).astype(np.int64)
    return gram


def _make_shard(size: int, number: int) -> ShardLikes:
    gram = _make_gram(size, number)
    rows, columns = np.nonzero(np.triu(gram, 1))
    lengths = np.bincount(rows, minlength=size).astype(np.int64)
    pairs = PairRows(
        np.arange(size),
        np.ones(size, np.int64),
        lengths,
        columns.astype(np.uint16),
        gram[rows, columns].astype(np.uint32),
    )
    return ShardLikes(
        AggregateVersion(number, 1, 1),
        _HOUSEHOLDS,
        np.arange(size),
        gram.diagonal().copy(),
        DictionaryKey(1, 1),
        0,
        pairs,
        np.ones(size, np.int64),
    )
