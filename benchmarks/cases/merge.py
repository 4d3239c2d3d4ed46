"""The merge of 100 shards in a round, compared with numpy and Flower on the same arrays."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.flwr_process import VERSION, start_flwr
from benchmarks.merge_arrays import CLUSTERS, make_shard_means, make_shard_weights
from benchmarks.report import Measurement
from constellation.federated.aggregate import (
    AggregateHeader,
    AggregateVersion,
    ClusterRows,
    no_terms,
)
from constellation.federated.fixed_point import CONTEXTS, SUM_ONE, WEIGHT_ONE, ClusterSums
from federation.merge.aggregates import ShardAggregate, merge_aggregates
from federation.merge.hourly_counts import HourlyWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.federated.fixed_point import Integers

_ROUNDS: Final = 15
_IDS: Final = np.arange(1, CLUSTERS + 1, dtype=np.uint32)
_SUCCESS: Final = 0.9


def measure() -> list[Measurement]:
    """Measure all in turns, so that the load of the machine is the same; compare the medians."""
    means, weights = make_shard_means(), make_shard_weights()
    aggregates = [
        _make_aggregate(shard_id, each, weight)
        for shard_id, (each, weight) in enumerate(zip(means, weights, strict=True))
    ]
    _check_same(aggregates, means, weights)
    ours, streamed, peer = [], [], []
    with start_flwr() as flwr_seconds:
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            merge_aggregates(aggregates, _IDS)
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            _compute_weighted_sum(means, weights)
            streamed.append(time.perf_counter() - started)
            if flwr_seconds is not None:
                peer.append(flwr_seconds())
    merged = statistics.median(ours) * 1000
    peers = {"federation_merge_vs_numpy": ("numpy float32, streaming", streamed)}
    if peer:
        peers["federation_merge_vs_flwr"] = (f"flwr {VERSION} aggregate", peer)
    return [_make_measurement(name, merged, *each) for name, each in peers.items()]


def _make_measurement(
    name: str, merged: float, baseline_name: str, seconds: Sequence[float]
) -> Measurement:
    """Return the merge beside a baseline. The ratio says how many times faster the merge is."""
    baseline = statistics.median(seconds) * 1000
    return Measurement(name, merged, "ms", baseline_name, baseline, baseline / merged)


def _compute_weighted_sum(
    means: Sequence[NDArray[np.float32]], weights: Sequence[int]
) -> NDArray[np.float32]:
    """Return the weighted sum of the means of the shards, by the fastest way in numpy."""
    total, scratch = np.zeros_like(means[0]), np.empty_like(means[0])
    for each, weight in zip(means, weights, strict=True):
        np.multiply(each, np.float32(weight), out=scratch)
        np.add(total, scratch, out=total)
    return total


def _make_aggregate(shard_id: int, means: NDArray[np.float32], weight: int) -> ShardAggregate:
    """Return the aggregate of a shard whose devices have these means in every cluster."""
    devices = np.full(CLUSTERS, weight, np.int64)
    features = ClusterSums(
        devices,
        devices * WEIGHT_ONE,
        np.rint(devices * WEIGHT_ONE * _SUCCESS).astype(np.int64),
        np.rint(means.astype(np.float64) * (weight * SUM_ONE)).astype(np.int64),
        _make_contexts(devices * WEIGHT_ONE),
    )
    versions = np.ones(CLUSTERS, np.int64)
    return ShardAggregate(
        AggregateVersion(shard_id, 1, 1),
        AggregateHeader("north", 1, 1, 1, weight),
        ClusterRows(_IDS, versions, features, no_terms(), no_terms()),
        HourlyWindow(),
        0.0,
        f"shard-{shard_id}",
    )


def _make_contexts(weights: Integers) -> Integers:
    contexts = np.zeros((len(weights), CONTEXTS), np.int64)
    contexts[:, [3, 6, 9]] = weights[:, None]
    return contexts


def _check_same(
    aggregates: Sequence[ShardAggregate],
    means: Sequence[NDArray[np.float32]],
    weights: Sequence[int],
) -> None:
    """Fail unless both sums are equal within the precision of float32."""
    ours = merge_aggregates(aggregates, _IDS).features.sums / SUM_ONE
    assert np.allclose(ours, _compute_weighted_sum(means, weights), atol=1e-3)
