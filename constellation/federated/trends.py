"""Trends: what more devices watch than this hour of the day usually sees.

One arithmetic for a shard and for a federation. It keeps nothing: what is usual is worked out anew
from the 168 hours at hand, so a count that arrives late is as good as one that was in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
"""Shape (hours, subjects): distinct devices, oldest hour first; hours are whole days."""

DAY_HOURS: Final = 24
"""Hours that a trend is looked for in: each has a surprise."""
_SMOOTHING: Final = 0.35
"""Share of a day's count in what is usual for its hour."""
_WARM_UP_DAYS: Final = 3
"""Counts of an hour of the day before which nothing there is a surprise."""
_END_SURPRISE: Final = 2.0
"""A trend is over when its surprise stays below this ..."""
_END_HOURS: Final = 3
"""... for so many hours."""
_AVERAGED_HOURS: Final = 3
"""A direction compares averages of so many hours."""
_RISING_RATIO: Final = 1.15
"""A trend that gained so much within three to four hours is rising."""
_FALLING_RATIO: Final = 0.75
"""A trend below this share of its highest within a day is falling."""


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
class TrendStrength:
    """How strongly each subject trends."""

    surprise: NDArray[np.float64]
    """Shape (DAY, subjects): z of each of the last 24 hours."""
    scores: NDArray[np.float64]
    """Shape (subjects,), like what follows."""
    popularity: NDArray[np.float64]
    directions: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Baseline:
    """What the last 24 hours were expected to see, from the same hours of the days before."""

    mean: NDArray[np.float64]
    """Shape (DAY, subjects), like `variance`."""
    variance: NDArray[np.float64]
    is_known: NDArray[np.bool_]
    """Shape (DAY,): the hours of the day that were counted often enough."""


def compute_strength(
    counts: Counts, decay_rate: float, floor: float, *, first_hour: int | None = None
) -> TrendStrength:
    """Return log1p(P) x (1 + log1p(max(z, 0))) and the like, 0 where nothing happened.

    P is the popularity. z is the surprise of the newest hour or of the one before, whichever is
    higher, because a shard's newest hour is still being counted.
    """
    baseline = _compute_baseline(
        counts, find_first_hour(counts) if first_hour is None else first_hour
    )
    surprise = _compute_surprise(counts, baseline, floor)
    popular = compute_popularity(counts, decay_rate)
    return TrendStrength(
        surprise,
        np.log1p(popular) * (1 + np.log1p(np.maximum(surprise[-2:].max(axis=0), 0))),
        popular,
        _compute_directions(counts, baseline, floor),
    )


def find_first_hour(counts: Counts) -> int:
    """Return the first hour in which anything was counted; the hours before it say nothing."""
    counted = counts.any(axis=1)
    return int(counted.argmax()) if counted.any() else len(counts)


def compute_popularity(counts: Counts, decay_rate: float) -> NDArray[np.float64]:
    """Return each subject's sum of counts, each decayed once for every hour since."""
    popular: NDArray[np.float64] = decay_rate ** np.arange(len(counts) - 1, -1, -1) @ counts
    return popular


def _compute_baseline(counts: Counts, first_hour: int) -> _Baseline:
    """Return exponentially weighted means and variances by hour of the day, but for the last day.

    The first count of an hour of the day is its mean, with no variance: its share is 1.
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


def _compute_surprise(counts: Counts, baseline: _Baseline, floor: float) -> NDArray[np.float64]:
    """Return z = (x - max(m, floor)) / sqrt(v + m + floor), shape (DAY, subjects).

    The floor keeps a content that is new from being infinitely surprising (SigniTrend, Schubert,
    Weiler and Kriegel, KDD 2014).
    """
    excess = counts[-DAY_HOURS:] - np.maximum(baseline.mean, floor)
    surprise: NDArray[np.float64] = excess / np.sqrt(baseline.variance + baseline.mean + floor)
    surprise[~baseline.is_known] = 0
    return surprise


def _compute_directions(counts: Counts, baseline: _Baseline, floor: float) -> NDArray[np.int64]:
    """Return where each subject is going, by its lift: how much more than usual it is watched.

    A lift is a ratio, so it stays the same while the whole audience comes and goes with the day;
    popularity and surprise do not, and would rise each evening. It is taken of averages, for a
    count is noisy, and now is the better of the last two, for a shard's newest hour is incomplete.
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
    """Return the average of each hour and those just before it, as long as there are enough."""
    ends = len(hourly) - _AVERAGED_HOURS + 1
    averages: Counts = (
        sum((hourly[back : back + ends] for back in range(_AVERAGED_HOURS)), np.zeros(1))
        / _AVERAGED_HOURS
    )
    return averages


def is_trending(surprise: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Say of each subject whether it trends, given the surprise of the last 24 hours.

    A trend begins with a surprise at the threshold; it is over after three hours below 2. With no
    threshold (0 or less) everything trends: what is popular in a small fleet surprises nobody.
    """
    trends: NDArray[np.bool_] = find_trend_starts(surprise, threshold) < len(surprise)
    return trends


def find_trend_starts(surprise: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """Return the hour, as a row of `surprise`, in which each trend began; past the end for none."""
    hours, subjects = surprise.shape
    if threshold <= 0:
        return np.zeros(subjects, np.int64)
    since = np.full(subjects, hours)
    quiet = np.zeros(subjects, np.int64)
    for hour, now in enumerate(surprise):
        begins = now >= threshold
        quiet = np.where(begins | (now >= _END_SURPRISE), 0, quiet + 1)
        since[quiet >= _END_HOURS] = hours
        since[begins & (since == hours)] = hour
    return since


def rank_trends(
    counts: Counts, eligible: NDArray[np.bool_], decay_rate: float, floor: float, limit: int
) -> list[tuple[int, float, Direction, float]]:
    """Return (subject, score, direction, popularity) of the strongest subjects, best first."""
    found = compute_strength(counts, decay_rate, floor)
    chosen = np.flatnonzero(eligible & (found.scores > 0))
    return [
        (
            int(subject),
            round(float(found.scores[subject]), 2),  # so that a version changes only when it shows
            Direction(int(found.directions[subject])),
            round(float(found.popularity[subject]), 1),
        )
        for subject in select_strongest(chosen, found.scores[chosen], limit)
    ]


def select_strongest(
    subjects: NDArray[np.int64], scores: NDArray[np.float64], limit: int
) -> NDArray[np.int64]:
    """Return the subjects with the highest scores, best first; of equals the lower number."""
    return subjects[np.lexsort((subjects, -scores))][:limit]
