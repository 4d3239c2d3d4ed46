"""Games: how an attack is scored, so that guessing is worth nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LEAST_TRIALS: Final = 2
_Z: Final = 1.96
"""Standard errors of an interval that holds the true value 19 times of 20."""


@dataclass(frozen=True, slots=True)
class Score:
    """What an attack reached: a value beside its interval of 95 %."""

    value: float
    low: float
    high: float
    trials: int


def score_share(successes: int, trials: int) -> Score:
    """Return the share of successes, with the interval of Wilson (1927)."""
    if trials == 0:
        raise ValueError("a share needs at least one trial")
    share = successes / trials
    scale = 1 + _Z**2 / trials
    middle = (share + _Z**2 / (2 * trials)) / scale
    half = _Z / scale * (share * (1 - share) / trials + _Z**2 / (4 * trials**2)) ** 0.5
    return Score(share, max(0.0, middle - half), min(1.0, middle + half), trials)


def score_advantage(values: Sequence[float], is_true: Sequence[bool]) -> Score:
    """Return the advantage of the rule "the answer is yes from some value on".

    The advantage is the true positive rate less the false positive rate: 1 is always right, 0 is
    guessing. The value from which the answer is yes is chosen on one half of the trials for the
    other half, and the other way round, so that chance does not look like skill.
    """
    measured, truth = np.asarray(values, float), np.asarray(is_true, bool)
    positives, negatives = np.flatnonzero(truth), np.flatnonzero(~truth)
    if min(len(positives), len(negatives)) < _LEAST_TRIALS:
        raise ValueError("an advantage needs at least two trials of each kind")
    halves = [np.concatenate([positives[first::2], negatives[first::2]]) for first in (0, 1)]
    answers = np.zeros(len(truth), np.bool_)
    for fitted, judged in (halves, halves[::-1]):
        answers[judged] = measured[judged] >= _choose_threshold(measured[fitted], truth[fitted])
    yes, no = answers[truth], answers[~truth]
    advantage = float(yes.mean() - no.mean())
    half = _Z * float(np.sqrt(_variance(yes) + _variance(no)))
    return Score(advantage, advantage - half, advantage + half, len(truth))


def _variance(answers: NDArray[np.bool_]) -> float:
    """Return the variance of a share, by Agresti and Coull (1998), never 0."""
    share = (answers.sum() + 2) / (len(answers) + 4)
    return float(share * (1 - share) / (len(answers) + 4))


def _choose_threshold(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the value from which on "yes" is right most often; infinity says "no" always."""
    best, chosen = 0.0, np.inf
    for value in np.unique(values):
        answers = values >= value
        advantage = float(answers[truth].mean() - answers[~truth].mean())
        if advantage > best:
            best, chosen = advantage, float(value)
    return float(chosen)
