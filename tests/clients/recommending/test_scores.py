from __future__ import annotations

import numpy as np

from constellation_settop.recommending.scores import compute_nearness, scale_to_one

COSINES = np.array([[0.5, 0.1], [0.2, 0.8], [-0.9, -0.3]], np.float32)


def test_the_largest_score_becomes_one() -> None:
    assert scale_to_one(np.array([0.5, 0.25, 0], np.float32)).tolist() == [1, 0.5, 0]


def test_scores_without_a_positive_one_stay_as_they_are() -> None:
    assert scale_to_one(np.zeros(3, np.float32)).tolist() == [0, 0, 0]
    assert scale_to_one(np.zeros(0, np.float32)).tolist() == []


def test_nearness_is_that_to_the_nearest_pattern_and_never_negative() -> None:
    nearness = compute_nearness(COSINES, np.ones(2, np.float32))

    assert nearness.scores.tolist() == [0.625, 1, 0]
    assert [nearness.find_nearest(row) for row in range(3)] == [0, 1, 1]


def test_a_heavy_pattern_is_nearer_than_a_light_one() -> None:
    nearness = compute_nearness(COSINES, np.array([1, 0.125], np.float32))

    assert nearness.find_nearest(1) == 0


def test_the_nearest_content_gets_the_peak() -> None:
    nearness = compute_nearness(COSINES, np.ones(2, np.float32), peak=0.5)

    assert nearness.scores.max() == 0.5


def test_without_patterns_nothing_is_near() -> None:
    nearness = compute_nearness(np.zeros((3, 0), np.float32), np.zeros(0, np.float32))

    assert nearness.scores.tolist() == [0, 0, 0]
