from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.index.exact import ExactRows
from tests.deltas import embedding

if TYPE_CHECKING:
    from constellation.encoding import Embeddings

NONE = np.empty(0, np.int64)
NO_VECTORS = np.empty((0, 384), np.float32)


def make_vectors(*directions: int) -> Embeddings:
    return np.stack([embedding(direction) for direction in directions])


def test_a_removed_row_leaves_no_gap() -> None:
    rows = ExactRows(100)
    rows.stage(NONE, np.array([5, 6, 7]), make_vectors(5, 6, 7))()

    rows.stage(np.array([5, 42]), NONE, NO_VECTORS)()

    assert rows.slots().tolist() == [6, 7]
    scores, slots = rows.search(make_vectors(7, 5), 9)
    assert slots.shape == (2, 2)
    assert slots[0, 0] == 7
    assert scores[0, 0] > 0.999


def test_a_replaced_row_is_found_at_its_new_place() -> None:
    rows = ExactRows(10)
    rows.stage(NONE, np.array([1, 2]), make_vectors(1, 2))()

    rows.stage(np.array([1]), np.array([1]), make_vectors(9))()

    assert rows.search(make_vectors(9), 1)[1].tolist() == [[1]]
    assert len(rows) == 2


def test_nothing_changes_before_the_staged_change_is_made() -> None:
    rows = ExactRows(10)

    change = rows.stage(NONE, np.array([1]), make_vectors(1))

    assert len(rows) == 0
    change()
    assert len(rows) == 1


def test_an_empty_index_answers_with_no_columns() -> None:
    scores, slots = ExactRows(10).search(make_vectors(1, 2), 5)

    assert scores.shape == slots.shape == (2, 0)
