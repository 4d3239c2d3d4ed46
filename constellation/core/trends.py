"""Trends of one shard: what more devices watch than this hour of the day usually sees."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
"""Shape (hours, subjects): distinct devices, oldest hour first."""

_DAY: Final = 24
_LOOK_BACK_HOURS: Final = 6
"""A direction compares the popularity of now with that of so many hours ago."""
_STEADY: Final = 0.1
"""Within this share of the earlier popularity, a trend is at its peak."""


class Direction(IntEnum):
    """Where a trend is going; the numbers are those of the .proto."""

    RISING = 1
    PEAKING = 2
    FALLING = 3


@dataclass(frozen=True, slots=True)
class Trend:
    """A content or a genre that many devices watch."""

    content_id: str
    """Empty for the trend of a genre."""
    genre: str
    score: float
    direction: Direction
    popularity: float
    region: str = ""
    """Where it holds; empty for the shard's own region."""
    is_global: bool = False
    """Several shards see it."""


@dataclass(frozen=True, slots=True, eq=False)
class Strength:
    """How strongly each subject trends, shape (subjects,) each."""

    scores: NDArray[np.float64]
    popularity: NDArray[np.float64]
    directions: NDArray[np.int64]


def strength(counts: Counts, decay_rate: float, floor: int) -> Strength:
    """Return log1p(P) x (1 + log1p(max(z, 0))) for each subject, 0 where nothing happened.

    P is the decayed popularity, z the surprise of the current hour against the same hour of the
    days before: z = (x - max(m, floor)) / sqrt(v + m + floor). The floor keeps a content that is
    new from being infinitely surprising (SigniTrend, Schubert, Weiler and Kriegel, KDD 2014).
    """
    hours = len(counts)
    weights = decay_rate ** np.arange(hours - 1, -1, -1)
    popularity = weights @ counts
    earlier = weights[_LOOK_BACK_HOURS:] @ counts[:-_LOOK_BACK_HOURS]
    usual = counts[hours - 1 - _DAY :: -_DAY]
    mean, variance = usual.mean(axis=0), usual.var(axis=0)
    surprise = (counts[-1] - np.maximum(mean, floor)) / np.sqrt(variance + mean + floor)
    scores = np.log1p(popularity) * (1 + np.log1p(np.maximum(surprise, 0)))
    directions = np.full(len(scores), int(Direction.PEAKING))
    directions[popularity > earlier * (1 + _STEADY)] = Direction.RISING
    directions[popularity < earlier * (1 - _STEADY)] = Direction.FALLING
    return Strength(scores, popularity, directions)


def trending(
    counts: Counts, eligible: NDArray[np.bool_], decay_rate: float, floor: int, limit: int
) -> list[tuple[int, float, Direction, float]]:
    """Return (subject, score, direction, popularity) of the strongest subjects, best first."""
    found = strength(counts, decay_rate, floor)
    chosen = np.flatnonzero(eligible & (found.scores > 0))
    order = chosen[np.lexsort((chosen, -found.scores[chosen]))][:limit]
    return [
        (
            int(subject),
            round(float(found.scores[subject]), 2),  # so that a version changes only when it shows
            Direction(int(found.directions[subject])),
            round(float(found.popularity[subject]), 1),
        )
        for subject in order
    ]


def genre_counts(counts: Counts, genres: NDArray[np.uint16], genre_total: int) -> Counts:
    """Return counts (hours, genre_total + 1) of genres from those of contents.

    `genres` is shape (contents, GENRES): each content's genre numbers, 0 for none.
    """
    contents = np.arange(len(genres))
    has_genre = np.zeros((len(genres), genre_total + 1))
    has_genre[contents[:, None], genres] = 1
    has_genre[:, 0] = 0
    summed: Counts = counts @ has_genre
    return summed
