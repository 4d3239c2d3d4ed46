from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from federation.related.solve import solve_weights, sum_pairs
from tests.federation.liked import count_likes, count_pairs, make_households

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tests.federation.liked import Household


def make_matrix(households: Sequence[Household], content_ids: Sequence[str]) -> NDArray[np.float64]:
    rows = [[each in household for each in content_ids] for household in households]
    return np.array(rows, np.float64)


def test_the_sum_of_pairs_is_the_gram_matrix_of_all_households() -> None:
    parts = [make_households(50, seed) for seed in range(3)]
    union = [household for part in parts for household in part]
    content_ids = list(count_likes(union).content_ids)
    matrix = make_matrix(union, content_ids)

    gram = sum_pairs(
        matrix.sum(axis=0).astype(np.int64), [count_pairs(part, content_ids) for part in parts]
    )

    assert (gram == matrix.T @ matrix).all()


def test_sums_have_the_same_bits_in_any_order() -> None:
    parts = [make_households(50, seed) for seed in range(3)]
    content_ids = [f"film:{number}" for number in range(40)]
    devices = np.arange(40)
    pairs = [count_pairs(part, content_ids) for part in parts]

    assert sum_pairs(devices, pairs).tobytes() == sum_pairs(devices, pairs[::-1]).tobytes()


@pytest.mark.parametrize("size", [1, 7, 300, 700])  # the larger ones are inverted by halves
def test_weights_are_those_of_ease(size: int) -> None:
    random = np.random.default_rng(size)
    matrix = (random.random((2 * size, size)) < 0.2).astype(float)
    gram = matrix.T @ matrix
    inverse = np.linalg.inv(gram + 30 * np.eye(size))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)

    assert np.abs(solve_weights(gram, 30.0) - expected).max() < 1e-12


def test_weights_predict_a_content_item_from_the_others_by_least_squares() -> None:
    random = np.random.default_rng(5)
    matrix = (random.random((60, 6)) < 0.4).astype(float)
    weights = solve_weights(matrix.T @ matrix, 2.0)

    others = np.delete(matrix, 4, axis=1)
    ridge = np.linalg.solve(others.T @ others + 2 * np.eye(5), others.T @ matrix[:, 4])

    assert np.allclose(np.delete(weights[:, 4], 4), ridge)
