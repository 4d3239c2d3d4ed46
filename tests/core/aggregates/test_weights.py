from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.aggregates.weights import (
    WeightChanges,
    bound_weights,
    compute_claims,
    sum_clusters,
)
from constellation.core.rows import PATTERN
from constellation.federated.fixed_point import SUM_ONE, WEIGHT_ONE
from tests.core.aggregates.aggregated_table import DIRECTIONS, AggregatedTable, make_anchors
from tests.deltas import PatternSpec, make_delta


def test_samples_beyond_sixteen_claim_no_more() -> None:
    claims = compute_claims(
        np.array([1.0, 1.0, 0.5, 0.0], np.float32), np.array([16, 10**9, 8, 16], np.uint32)
    )

    assert claims[:3].tolist() == [WEIGHT_ONE, WEIGHT_ONE, WEIGHT_ONE // 4]
    assert claims[3] > 0


def test_a_weight_that_changes_there_and_back_leaves_no_trace() -> None:
    rows = np.zeros(3, PATTERN)
    rows["codes"] = np.random.default_rng(1).integers(-127, 128, (3, 384))
    rows["success_rate"] = [0.7, 0.8, 0.9]
    rows = np.concatenate([rows, rows])
    clusters, weights = np.array([0, 1, 1, 0, 1, 1]), np.array([900, 70_000, 5])
    zeros = np.zeros(3, np.int64)

    sums = sum_clusters(
        WeightChanges(
            rows, clusters, np.concatenate([zeros, weights]), np.concatenate([weights, zeros])
        ),
        2,
    )

    assert not sums.weights.any()
    assert not sums.successes.any()
    assert not sums.sums.any()
    assert not sums.contexts.any()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0.01, 1), st.integers(1, 100)), min_size=1))
def test_a_devices_weights_are_halved_until_they_fit(
    patterns: list[tuple[int, float, int]],
) -> None:
    owners = np.array([owner for owner, _, _ in patterns])
    claimed = compute_claims(
        np.array([rate for _, rate, _ in patterns], np.float32),
        np.array([count for _, _, count in patterns], np.uint32),
    )

    weights = bound_weights(claimed, owners, 5)

    for device in range(5):
        before, after = claimed[owners == device].sum(), weights[owners == device].sum()
        assert after <= WEIGHT_ONE
        if before <= WEIGHT_ONE:
            assert after == before
        else:
            assert after > WEIGHT_ONE // 2 - len(patterns)


def test_no_device_weighs_more_than_one_whatever_it_claims() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    greedy = [PatternSpec(n, n % DIRECTIONS, 1.0, 10**9) for n in range(6)]
    shard.commit(make_delta(0, 1, greedy))

    features = shard.get_update().clusters.features

    assert features.weights.sum() <= WEIGHT_ONE
    assert (features.weights.astype(float) ** 2).sum() <= float(WEIGHT_ONE) ** 2
    assert np.linalg.norm(features.sums.astype(float), axis=1).sum() <= SUM_ONE * 1.001
