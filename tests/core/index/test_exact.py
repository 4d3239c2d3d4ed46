from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.index.exact import ExactRows
from constellation.encoding import quantise
from tests.deltas import embedding

if TYPE_CHECKING:
    from constellation.encoding import Codes, Embeddings


def make_vectors(*directions: int) -> Embeddings:
    return np.stack([embedding(direction) for direction in directions])


def make_codes() -> Codes:
    return quantise(make_vectors(*range(10)))[0]


def test_the_nearest_of_some_slots_are_found_best_first() -> None:
    rows = ExactRows(np.array([5, 6, 7]), make_codes())

    scores, slots = rows.search(make_vectors(7, 1), 2)

    assert slots.shape == (2, 2)
    assert slots[0, 0] == 7
    assert scores[0, 0] > 0.999
    assert 1 not in slots
    assert (np.diff(scores, axis=1) <= 0).all()


def test_rows_do_not_change_with_the_codes() -> None:
    codes = make_codes()
    rows = ExactRows(np.array([5, 6]), codes)

    codes[5] = codes[6]

    assert rows.search(make_vectors(5), 1)[1].tolist() == [[5]]


def test_a_row_of_zeros_is_near_nothing() -> None:
    codes = make_codes()
    codes[3] = 0

    scores, slots = ExactRows(np.array([3, 4]), codes).search(make_vectors(4), 2)

    assert slots.tolist() == [[4, 3]]
    assert scores[0, 1] == 0


def test_missing_results_are_padded() -> None:
    scores, slots = ExactRows(np.array([2]), make_codes()).search(make_vectors(1, 2), 3)

    assert slots.tolist() == [[2, -1, -1], [2, -1, -1]]
    assert np.isneginf(scores[:, 1:]).all()
