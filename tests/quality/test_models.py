"""The centralised models on matrices that are small enough to compute by hand."""

from __future__ import annotations

import numpy as np
import pytest

from quality.models import (
    count_likes,
    keep_largest,
    score_by_als,
    score_by_ease,
    score_by_item_knn,
    score_by_popularity,
    solve_ease,
)

LIKES = np.array(
    [
        [1.0, 1.0, 0.0],
        [1.0, 1.0, 0.0],
        [1.0, 0.0, 1.0],
        [0.0, 1.0, 0.0],
    ]
)
"""Content items 0 and 1 share two households, 0 and 2 share one, 1 and 2 none."""


def test_likes_are_counted_once() -> None:
    liked = [np.array([2, 0]), np.array([], np.int64), np.array([1, 1])]

    assert count_likes(liked, 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_popularity_is_how_many_households_liked_a_content_item() -> None:
    assert score_by_popularity(LIKES).tolist() == [[3, 3, 1]] * 4


def test_item_knn_adds_shrunk_cosines() -> None:
    scores = score_by_item_knn(LIKES, neighbours=3, shrinkage=2.0)

    # norms are sqrt(3), sqrt(3), 1
    first_second = 2 / (3 + 2)
    first_third = 1 / (np.sqrt(3) + 2)
    assert scores[3] == pytest.approx([first_second, 0, 0])
    assert scores[2] == pytest.approx([first_third, first_second, first_third])


def test_item_knn_keeps_only_the_nearest_neighbours() -> None:
    scores = score_by_item_knn(LIKES, neighbours=1, shrinkage=2.0)

    # content item 0 keeps 1, so that it no longer recommends 2
    assert scores[0] == pytest.approx([2 / 5, 2 / 5, 0])


def test_keeping_the_largest_weights_leaves_the_others_zero() -> None:
    weights = np.array([[3.0, 1.0, 2.0], [-1.0, -3.0, -2.0]])

    assert keep_largest(weights, 2).tolist() == [[3, 0, 2], [-1, 0, -2]]
    assert keep_largest(weights, 3).tolist() == weights.tolist()


def test_ease_solves_two_content_items_as_the_formula_says() -> None:
    pairs = np.array([[3.0, 2.0], [2.0, 4.0]])

    weights = solve_ease(pairs, regularisation=1.0)

    # the inverse of [[4, 2], [2, 5]] is [[5, -2], [-2, 4]] / 16, and B = -P / diag(P) by column
    assert weights == pytest.approx(np.array([[0, 2 / 4], [2 / 5, 0]]))


def test_ease_minimises_its_objective() -> None:
    """Each column is a ridge regression of one content item on the others (Steck 2019)."""
    weights = solve_ease(LIKES.T @ LIKES, regularisation=0.5)

    for column in range(3):
        others = [row for row in range(3) if row != column]
        known = LIKES[:, others]
        ridge = np.linalg.solve(known.T @ known + 0.5 * np.eye(2), known.T @ LIKES[:, column])
        assert weights[others, column] == pytest.approx(ridge)
        assert weights[column, column] == 0


def test_ease_gives_no_score_to_what_nobody_liked() -> None:
    likes = np.column_stack([LIKES, np.zeros(4)])

    scores = score_by_ease(likes, regularisation=0.5)

    assert scores[:, 3].tolist() == [0, 0, 0, 0]
    assert scores[:, :3] == pytest.approx(LIKES @ solve_ease(LIKES.T @ LIKES, 0.5))


def test_als_recommends_within_a_block_of_tastes() -> None:
    likes = np.zeros((20, 10))
    likes[:10, :5] = 1.0
    likes[10:, 5:] = 1.0
    likes[0, 4] = 0.0  # household 0 has not met content item 4, which all of its block like

    scores = score_by_als(likes, factors=2, confidence=10.0, regularisation=0.1)

    assert scores[0, 4] == pytest.approx(1.0, abs=0.2)
    assert np.abs(scores[0, 5:]).max() < 0.2


def test_als_repeats_its_scores() -> None:
    assert np.array_equal(score_by_als(LIKES, factors=2), score_by_als(LIKES, factors=2))
