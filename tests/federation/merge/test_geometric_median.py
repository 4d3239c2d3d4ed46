from __future__ import annotations

import numpy as np

from constellation.federated.fixed_point import SUM_ONE, WEIGHT_ONE
from federation.merge.geometric_median import compute_geometric_medians
from tests.federation.aggregates import embedding


def test_the_geometric_median_resists_two_of_seven_liars() -> None:
    truth, lie = embedding(1), -embedding(1)
    vectors = np.stack([truth] * 5 + [lie] * 2)
    sums = np.rint(vectors * SUM_ONE).astype(np.int64)[:, None, :] * np.array(
        [1, 1, 1, 1, 1, 2, 2]
    ).reshape(-1, 1, 1)
    weights = np.array([[1], [1], [1], [1], [1], [2], [2]]) * WEIGHT_ONE

    median = compute_geometric_medians(sums, weights)[0]

    mean = sums.sum(axis=0)[0].astype(float)
    assert float(median @ truth) > 0.99
    assert float(compute_geometric_medians(sums, weights * 1000)[0] @ median) > 0.999999
    assert np.linalg.norm(mean) / SUM_ONE < 1.1  # four of nine votes cancel


def test_a_shard_without_weight_has_no_vote() -> None:
    vectors = np.stack([embedding(1), embedding(2)])
    sums = np.rint(vectors * SUM_ONE).astype(np.int64)[:, None, :]

    median = compute_geometric_medians(sums, np.array([[WEIGHT_ONE], [0]]))[0]

    assert float(median @ embedding(1)) > 0.999999
