"""Scores: how strongly one source recommends each content item of a catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
"""Shape (contents,): one number from 0 to 1 for each row of the catalogue."""


@dataclass(frozen=True, slots=True, eq=False)
class Nearness:
    """How near each content item is to the nearest of n patterns."""

    scores: Scores
    """Shape (contents,): the largest weighted cosine of each content item, scaled."""
    cosines: NDArray[np.float32]
    """Shape (contents, n)."""
    weights: NDArray[np.float32]
    """Shape (n,): the weight of each pattern."""

    def find_nearest(self, row: int) -> int:
        """Return the number of the pattern nearest to a content item, from 0 to n - 1."""
        return int((self.cosines[row] * self.weights).argmax())


def scale_to_one(scores: Scores) -> Scores:
    """Return the scores divided by the largest one, or unchanged when none is positive."""
    peak = scores.max(initial=0.0)
    return scores / peak if peak > 0 else scores


def compute_nearness(
    cosines: NDArray[np.float32], weights: NDArray[np.float32], peak: float = 1.0
) -> Nearness:
    """Return how near each content item is to the nearest of n weighted patterns.

    Args:
        cosines: shape (contents, n); a negative one counts as 0.
        weights: shape (n,).
        peak: the score that the nearest content item gets.
    """
    scores = np.zeros(len(cosines), np.float32)
    for column, weight in enumerate(weights):  # five times as fast as `max(axis=1)`
        np.maximum(scores, cosines[:, column] * weight, out=scores)
    return Nearness(scale_to_one(scores) * np.float32(peak), cosines, weights)
