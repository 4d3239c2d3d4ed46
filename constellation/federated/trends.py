"""Trends: subjects that more devices watch than is usual for this hour of the day.

Shards and federations use the same arithmetic. It keeps no state: what is usual is computed from
the last 168 hours each time, so a count that arrives late is worth as much as one in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
"""Shape (hours, subjects): distinct devices, oldest hour first; the hours make whole days."""

WINDOW_HOURS: Final = 168
"""Hours of counts that trends are computed from: seven days."""
DAY_HOURS: Final = 24
"""Trends are looked for in this many of the newest hours; each has its own surprise."""
_SMOOTHING: Final = 0.35
"""The weight of one day's count in the moving average for its hour of the day."""
_WARM_UP_DAYS: Final = 3
"""An hour of the day has no surprises until it was counted on this many days."""
_END_SURPRISE: Final = 2.0
"""A trend is over when its surprise stays below this for `_END_HOURS` hours."""
_END_HOURS: Final = 3
_AVERAGED_HOURS: Final = 3
"""Directions compare averages over this many hours."""
_RISING_RATIO: Final = 1.15
"""A trend is rising when its lift grew by this factor within three to four hours."""
_FALLING_RATIO: Final = 0.75
"""A trend is falling when its lift is below this share of the day's highest."""


class Direction(IntEnum):
    """Where a trend is going; the numbers are those of the .proto."""

    RISING = 1
    PEAKING = 2
    FALLING = 3


@dataclass(frozen=True, slots=True)
class Trend:
    """A content item or a genre that many devices watch."""

    content_id: str
    """Empty for the trend of a genre."""
    genre: str
    score: float
    direction: Direction
    popularity: float
    region: str = ""
    """The region it was seen in; empty for the shard's own region."""
    is_global: bool = False
    """True when several shards see the trend."""


@dataclass(frozen=True, slots=True, eq=False)
class TrendStrength:
    """How strongly each subject trends, column by column."""

    surprise: NDArray[np.float64]
    """Shape (DAY_HOURS, subjects): z of each of the last 24 hours."""
    scores: NDArray[np.float64]
    """Shape (subjects,)."""
    popularity: NDArray[np.float64]
    """Shape (subjects,)."""
    directions: NDArray[np.int64]
    """Shape (subjects,): the value of a Direction."""


@dataclass(frozen=True, slots=True, eq=False)
class _Baseline:
    """The counts expected in the last 24 hours, from the same hours of the days before."""

    mean: NDArray[np.float64]
    """Shape (DAY_HOURS, subjects)."""
    variance: NDArray[np.float64]
    """Shape (DAY_HOURS, subjects)."""
    is_known: NDArray[np.bool_]
    """Shape (DAY_HOURS,): which hours of the day were counted on enough days."""


def compute_strength(
    counts: Counts,
    decay_rate: float,
    floor: float,
    *,
    first_hour: int | None = None,
    noise_variance: float = 0.0,
) -> TrendStrength:
    """Return the score of each subject, and the surprise, popularity and direction behind it.

    The score is log1p(P) x (1 + log1p(max(z, 0))), which is 0 where nothing was counted. P is the
    popularity. z is the surprise of the newest hour or of the hour before, whichever is higher,
    because a shard is still counting its newest hour. `first_hour` is the row of the first hour
    that was counted; without it, the first row with a count. `noise_variance` is the variance of
    noise that was added to each count.
    """
    baseline = _compute_baseline(
        counts, find_first_hour(counts) if first_hour is None else first_hour
    )
    surprise = _compute_surprise(counts, baseline, floor, noise_variance)
    popularity = compute_popularity(counts, decay_rate)
    return TrendStrength(
        surprise,
        np.log1p(popularity) * (1 + np.log1p(np.maximum(surprise[-2:].max(axis=0), 0))),
        popularity,
        _compute_directions(counts, baseline, floor),
    )


def find_first_hour(counts: Counts) -> int:
    """Return the row of the first hour with a count, len(counts) when there is none.

    The hours before it tell nothing about what is usual.
    """
    counted = counts.any(axis=1)
    return int(counted.argmax()) if counted.any() else len(counts)


def compute_popularity(counts: Counts, decay_rate: float) -> NDArray[np.float64]:
    """Return the decayed sum of each subject's counts: x decay_rate per hour since the count."""
    popularity: NDArray[np.float64] = decay_rate ** np.arange(len(counts) - 1, -1, -1) @ counts
    return popularity


def _compute_baseline(counts: Counts, first_hour: int) -> _Baseline:
    """Return exponentially weighted means and variances by hour of the day, without the last day.

    The first count of an hour of the day has a share of 1: it is the mean, with no variance.
    """
    days = counts.reshape(len(counts) // DAY_HOURS, DAY_HOURS, counts.shape[1])
    counted = np.arange(len(counts)).reshape(-1, DAY_HOURS) >= first_hour
    mean, variance = np.zeros(days.shape[1:]), np.zeros(days.shape[1:])
    seen = np.zeros(DAY_HOURS, np.int64)
    for day, is_counted in zip(days[:-1], counted[:-1], strict=True):
        share = np.where(is_counted, np.where(seen > 0, _SMOOTHING, 1.0), 0.0)[:, None]
        difference = day - mean
        mean += share * difference
        variance = (1 - share) * (variance + share * difference**2)
        seen += is_counted
    return _Baseline(mean, variance, seen >= _WARM_UP_DAYS)


def _compute_surprise(
    counts: Counts, baseline: _Baseline, floor: float, noise_variance: float
) -> NDArray[np.float64]:
    """Return z = (x - max(m, floor)) / sqrt(v + m + floor + noise), shape (DAY_HOURS, subjects).

    x is the count, m the expected mean and v its variance. The floor keeps new content from being
    infinitely surprising (SigniTrend: Schubert, Weiler and Kriegel, KDD 2014).
    """
    excess = counts[-DAY_HOURS:] - np.maximum(baseline.mean, floor)
    variance = baseline.variance + baseline.mean + floor + noise_variance
    surprise: NDArray[np.float64] = excess / np.sqrt(variance)
    surprise[~baseline.is_known] = 0
    return surprise


def _compute_directions(counts: Counts, baseline: _Baseline, floor: float) -> NDArray[np.int64]:
    """Return each subject's direction, by its lift: its count relative to the usual count.

    A lift is a ratio, so it does not change when the whole audience grows or shrinks during the
    day; popularity and surprise would rise each evening. Lifts compare averages, because counts
    are noisy. The present lift is the higher of the last two, because a shard's newest hour is
    incomplete.
    """
    expected = baseline.mean if baseline.is_known.all() else np.zeros_like(baseline.mean)
    lifts = (_compute_averages(counts[-DAY_HOURS:]) + floor) / (_compute_averages(expected) + floor)
    now = lifts[-2:].max(axis=0)
    unwatched = ~counts[-_AVERAGED_HOURS:].any(axis=0)
    directions = np.full(counts.shape[1], int(Direction.PEAKING))
    directions[(now < lifts.max(axis=0) * _FALLING_RATIO) | unwatched] = Direction.FALLING
    directions[now > lifts[-2 - _AVERAGED_HOURS] * _RISING_RATIO] = Direction.RISING
    return directions


def _compute_averages(hourly: Counts) -> Counts:
    """Return the moving averages over `_AVERAGED_HOURS` rows; the first rows have none."""
    ends = len(hourly) - _AVERAGED_HOURS + 1
    averages: Counts = (
        sum((hourly[back : back + ends] for back in range(_AVERAGED_HOURS)), np.zeros(1))
        / _AVERAGED_HOURS
    )
    return averages


def is_trending(surprise: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Return which subjects trend, given the surprise of the last 24 hours.

    A trend begins when its surprise reaches the threshold, and ends after three hours below 2. With
    a threshold of 0 or less everything trends: a small fleet has popular content, but no surprises.
    """
    trends: NDArray[np.bool_] = find_trend_starts(surprise, threshold) < len(surprise)
    return trends


def find_trend_starts(surprise: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """Return the row of `surprise` in which each trend began; len(surprise) for no trend."""
    hours, subjects = surprise.shape
    if threshold <= 0:
        return np.zeros(subjects, np.int64)
    starts = np.full(subjects, hours)
    quiet_hours = np.zeros(subjects, np.int64)
    for hour, now in enumerate(surprise):
        begins = now >= threshold
        quiet_hours = np.where(begins | (now >= _END_SURPRISE), 0, quiet_hours + 1)
        starts[quiet_hours >= _END_HOURS] = hours
        starts[begins & (starts == hours)] = hour
    return starts


def rank_trends(
    counts: Counts, eligible: NDArray[np.bool_], decay_rate: float, floor: float, limit: int
) -> list[tuple[int, float, Direction, float]]:
    """Return (subject, score, direction, popularity) of the strongest subjects, best first."""
    strength = compute_strength(counts, decay_rate, floor)
    chosen = np.flatnonzero(eligible & (strength.scores > 0))
    return [
        (
            int(subject),
            round(float(strength.scores[subject]), 2),  # no new version for a change nobody sees
            Direction(int(strength.directions[subject])),
            round(float(strength.popularity[subject]), 1),
        )
        for subject in select_strongest(chosen, strength.scores[chosen], limit)
    ]


def select_strongest(
    subjects: NDArray[np.int64], scores: NDArray[np.float64], limit: int
) -> NDArray[np.int64]:
    """Return the subjects with the highest scores, best first; ties go to the lower number."""
    return subjects[np.lexsort((subjects, -scores))][:limit]
