from __future__ import annotations

import numpy as np
import pytest

from attacks.game import score_advantage, score_share

TRUTH = [True, False] * 100


def test_an_attack_that_is_always_right_has_the_advantage_1() -> None:
    score = score_advantage([float(each) for each in TRUTH], TRUTH)

    assert score.value == 1
    assert score.trials == 200, "each half is judged by what the other one chose"


def test_an_attack_that_knows_nothing_has_no_advantage() -> None:
    assert score_advantage([3.0] * 200, TRUTH).value == 0


def test_luck_in_choosing_the_threshold_is_no_advantage() -> None:
    random = np.random.default_rng(3)

    scores = [score_advantage(random.random(200).tolist(), TRUTH).value for _ in range(200)]

    assert abs(float(np.mean(scores))) < 0.02


def test_the_interval_of_an_advantage_has_the_true_value() -> None:
    random = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        values = [float(random.random() < (0.6 if each else 0.2)) for each in TRUTH]
        score = score_advantage(values, TRUTH)
        hits += score.low <= 0.4 <= score.high

    assert hits >= 170, "fewer than 170 of 200, where 190 are expected"


def test_a_share_of_nothing_still_has_an_interval() -> None:
    score = score_share(0, 100)

    assert score.value == 0
    assert score.low == pytest.approx(0)
    assert 0.03 < score.high < 0.04


@pytest.mark.parametrize("truth", [[True], [True, True, False], []])
def test_too_few_trials_are_refused(truth: list[bool]) -> None:
    with pytest.raises(ValueError, match="at least two trials of each kind"):
        score_advantage([1.0] * len(truth), truth)
