from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from constellation.federated.fixed_point import (
    CONTEXTS,
    ClusterSums,
    compute_centroids,
    concatenate_sums,
    no_sums,
)


def make_sums(*values: int) -> ClusterSums:
    """Return one row for each value, filled with it."""
    sums = no_sums(len(values))
    for row, value in enumerate(values):
        for column in (sums.devices, sums.weights, sums.successes, sums.sums, sums.contexts):
            column[row] = value
    return sums


@given(st.permutations(range(5)))
def test_any_order_of_addition_gives_the_same_bits(order: list[int]) -> None:
    random = np.random.default_rng(2)
    parts = [random.integers(-(2**50), 2**50, 384) for _ in range(5)]
    total = no_sums(1)

    for index in order:
        more = no_sums(1)
        more.sums[0] = parts[index]
        total.add_at(np.array([0]), more)

    assert (total.sums[0] == np.sum(parts, axis=0)).all()


def test_rows_are_added_where_they_belong() -> None:
    sums = make_sums(1, 10, 100)

    sums.add_at(np.array([2, 0]), make_sums(5, 7))
    sums.add_at(np.arange(3), make_sums(1000, 1000, 1000))

    assert sums.devices.tolist() == [1008, 1010, 1105]
    assert sums.contexts.shape == (3, CONTEXTS)
    assert sums.contexts[2].tolist() == [1105] * CONTEXTS


def test_a_cleared_row_is_zeros_in_every_column() -> None:
    sums = make_sums(3, 4)

    sums.clear(np.array([True, False]))

    assert sums.weights.tolist() == [0, 4]
    assert not sums.sums[0].any()
    assert not sums.contexts[0].any()


def test_selected_rows_keep_their_order() -> None:
    assert make_sums(1, 2, 3).select(np.array([2, 0])).devices.tolist() == [3, 1]


def test_parts_are_joined_in_order() -> None:
    assert len(concatenate_sums([])) == 0
    assert concatenate_sums([make_sums(1), make_sums(2, 3)]).successes.tolist() == [1, 2, 3]


def test_a_centroid_has_unit_length_unless_there_is_nothing() -> None:
    sums = np.zeros((2, 384), np.int64)
    sums[0, :2] = [3 * 2**40, 4 * 2**40]

    centroids = compute_centroids(sums)

    assert np.allclose(centroids[0, :2], [0.6, 0.8])
    assert not centroids[1].any()
