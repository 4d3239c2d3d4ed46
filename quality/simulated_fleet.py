"""A fleet of any size, made of the households of a split: replicas with resampled histories.

Each replica of a household likes films drawn with replacement, and each once, from those that the
household liked, in the same order. What a fleet counts is the sum over its replicas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.aggregates.pair_counts import count_pairs
from constellation.federated.contribution import LIKED_CONTENTS
from federation.related.solve import sum_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from quality.split import Household

MAX_COUNTED: Final = 100_000
"""Replicas that are counted. A larger fleet has the same counts, multiplied."""
_SEED: Final = 11


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedFleet:
    """The liked films of some devices, each of which stands for several."""

    contents: NDArray[np.uint32]
    """Shape (devices, LIKED_CONTENTS): numbers of films from 1, the latest first, then zeros."""
    factor: int
    """The devices that each row stands for."""
    content_count: int

    @property
    def devices(self) -> int:
        return len(self.contents) * self.factor

    def count_likes(self, liked: int) -> NDArray[np.int64]:
        """Return how many devices like each film, when the latest `liked` of each count."""
        counts = np.bincount(self.contents[:, :liked].ravel(), minlength=self.content_count + 1)
        return counts[1:].astype(np.int64) * self.factor

    def count_pairs(self, liked: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how many devices like both of each two films; the diagonal is 0."""
        positions = np.full(self.content_count + 1, len(rows), np.uint16)
        positions[rows + 1] = np.arange(len(rows))
        pairs = count_pairs(self.contents[:, :liked], positions, len(rows))
        return sum_pairs(np.zeros(len(rows), np.int64), [pairs]) * self.factor


def simulate_fleet(
    households: Sequence[Household], devices: int, content_count: int
) -> SimulatedFleet:
    """Return a fleet of about `devices` devices: the same number of replicas of every household.

    A fleet of one replica each is the households themselves.
    """
    replicas = max(1, min(devices, MAX_COUNTED) // len(households))
    random = np.random.default_rng(_SEED)
    contents = np.zeros((replicas * len(households), LIKED_CONTENTS), np.uint32)
    for number, household in enumerate(households):
        liked = household.liked_rows
        for replica in range(replicas):
            chosen = np.arange(len(liked))
            if replicas > 1:
                chosen = np.unique(random.integers(0, len(liked), len(liked)))
            latest = liked[chosen[::-1][:LIKED_CONTENTS]]
            contents[number * replicas + replica, : len(latest)] = latest + 1
    factor = max(1, round(devices / len(contents)))
    return SimulatedFleet(contents, factor, content_count)
