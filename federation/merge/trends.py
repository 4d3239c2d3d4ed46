"""Trends over several shards: their winsorised sums, and how many shards see each trend. Pure.

Shards are added in the order of their ids and counts are whole devices, so the order in which
shards are given does not change the result. 100 shards with 10,000 subjects each have 1.3 GB of
counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.trends import (
    DAY_HOURS,
    WINDOW_HOURS,
    Counts,
    Direction,
    TrendStrength,
    compute_strength,
    find_first_hour,
    find_trend_starts,
    is_trending,
    select_strongest,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_RATE_CAP: Final = 4
"""One shard counts for at most this many times the median of the shards' rates."""
_SHARD_SURPRISE: Final = 3.0
"""A shard sees a trend itself at this many standard deviations above its own usual count."""
_CANDIDATES_PER_TREND: Final = 10
"""For each trend that may be published, this many of the strongest subjects are examined, even if
they are not surprising."""
_BLOCK_SUBJECTS: Final = 64
"""Subjects that are winsorised together: few enough to bound memory and to fit a cache."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardCounts:
    """The hourly counts of one shard."""

    shard_id: int
    region: str
    devices: int
    """All devices of the shard, including those that watched nothing."""
    subjects: NDArray[np.int64]
    """Shape (n,): subject numbers, ascending and distinct; all shards use the same numbers."""
    counts: Counts
    """Shape (WINDOW_HOURS, n): whole devices; the last row is the newest complete hour."""


@dataclass(frozen=True, slots=True)
class TrendRules:
    """What a subject needs to be a trend."""

    decay_rate: float = 0.95
    """The factor by which a popularity shrinks each hour."""
    floor: float = 50.0
    """Devices in an hour that are never surprising, however few were usual before."""
    surprise: float = 6.0
    """Standard deviations above the usual count. 0: steadily popular subjects are trends, too."""
    min_devices: int = 50
    """Devices that must have watched the subject in one of the last 24 hours."""
    min_shards: int = 3
    """Shards that must see a global trend in their own counts."""
    limit: int = 50
    """The largest number of global trends, and of trends in each region."""


@dataclass(frozen=True, slots=True)
class SubjectTrend:
    """A subject that trends in one region or everywhere."""

    subject: int
    score: float
    region: str
    """Empty for a global trend."""
    is_global: bool
    direction: Direction
    popularity: float


@dataclass(frozen=True, slots=True, eq=False)
class _TrendingSubjects:
    """The subjects that trend in the sum over some shards, with the strength of each."""

    subjects: NDArray[np.int64]
    """Shape (n,), ascending."""
    strength: TrendStrength

    def select(self, mask: NDArray[np.bool_]) -> _TrendingSubjects:
        """Return only the subjects for which `mask`, shape (n,), is true."""
        strength = self.strength
        return _TrendingSubjects(
            self.subjects[mask],
            TrendStrength(
                strength.surprise[:, mask],
                strength.scores[mask],
                strength.popularity[mask],
                strength.directions[mask],
            ),
        )

    def to_trends(
        self, limit: int, region: str = "", *, is_global: bool = False
    ) -> list[SubjectTrend]:
        """Return the strongest trends, at most `limit`, those with the highest scores first."""
        positions = np.arange(len(self.subjects))
        return [
            SubjectTrend(
                int(self.subjects[position]),
                float(self.strength.scores[position]),
                region,
                is_global,
                Direction(int(self.strength.directions[position])),
                float(self.strength.popularity[position]),
            )
            for position in select_strongest(positions, self.strength.scores, limit)
        ]


def find_trends(
    shards: Sequence[ShardCounts], rules: TrendRules, subject_count: int
) -> list[SubjectTrend]:
    """Return the global trends, then the trends of single regions; each group strongest first.

    Every subject number must be below `subject_count`.
    """
    shards = sorted(shards, key=lambda shard: shard.shard_id)
    total = np.zeros((WINDOW_HOURS, subject_count))
    regional = {}
    for region in sorted({shard.region for shard in shards}):
        group = [shard for shard in shards if shard.region == region]
        summed = _sum_counts(group, subject_count)
        regional[region] = _find_trending(group, summed, rules)
        total += summed
    everywhere = _find_trending(shards, total, rules)
    everywhere = everywhere.select(_count_shards(shards, everywhere, rules) >= rules.min_shards)
    regional_only: list[SubjectTrend] = []
    for region, trends in regional.items():
        is_global = np.isin(trends.subjects, everywhere.subjects)
        regional_only += trends.select(~is_global).to_trends(rules.limit, region)
    regional_only.sort(key=lambda trend: (-trend.score, trend.subject, trend.region))
    return everywhere.to_trends(rules.limit, is_global=True) + regional_only


def find_summed_trends(
    counts: Counts, rules: TrendRules, *, first_hour: int, noise_variance: float
) -> list[SubjectTrend]:
    """Return the trends of counts of which only the sums are known, strongest first.

    `noise_variance` is the variance of the noise in each count. Without the counts of single shards
    nothing is winsorised, and a trend need not be seen by several shards.
    """
    strength = compute_strength(
        counts,
        rules.decay_rate,
        rules.floor,
        first_hour=first_hour,
        noise_variance=noise_variance,
    )
    enough = counts[-DAY_HOURS:].max(axis=0) >= rules.min_devices
    trends = is_trending(strength.surprise, rules.surprise) & (strength.scores > 0) & enough
    subjects = _TrendingSubjects(np.arange(counts.shape[1]), strength).select(trends)
    return subjects.to_trends(rules.limit, is_global=True)


def _sum_counts(shards: Sequence[ShardCounts], subject_count: int) -> Counts:
    summed = np.zeros((WINDOW_HOURS, subject_count))
    for shard in shards:
        summed[:, shard.subjects] += shard.counts
    return summed


def _find_trending(
    shards: Sequence[ShardCounts], raw: Counts, rules: TrendRules
) -> _TrendingSubjects:
    """Return the subjects that trend in the winsorised sum of shards; `raw` is their plain sum."""
    first_hour = find_first_hour(raw)
    subjects = _select_candidates(raw, rules)
    counts = _sum_winsorised(shards, subjects)
    strength = compute_strength(counts, rules.decay_rate, rules.floor, first_hour=first_hour)
    trends = is_trending(strength.surprise, rules.surprise) & (strength.scores > 0)
    enough = counts[-DAY_HOURS:].max(axis=0) >= rules.min_devices
    return _TrendingSubjects(subjects, strength).select(trends & enough)


def _select_candidates(raw: Counts, rules: TrendRules) -> NDArray[np.int64]:
    """Return the subjects to examine in each shard: surprising ones, and the strongest ones.

    Half of the required surprise is enough here: a shard that pushed a subject for days has raised
    its usual count in the raw sum. A subject with too few devices in the raw sum can be skipped,
    because the winsorised sum is never higher.
    """
    strength = compute_strength(raw, rules.decay_rate, rules.floor)
    enough = np.flatnonzero(raw[-DAY_HOURS:].max(axis=0) >= max(rules.min_devices, 1))
    strongest = select_strongest(
        enough, strength.scores[enough], _CANDIDATES_PER_TREND * rules.limit
    )
    is_candidate = np.zeros(raw.shape[1], bool)
    is_candidate[strongest] = True
    if rules.surprise > 0:
        is_candidate[enough] |= strength.surprise[:, enough].max(axis=0) >= rules.surprise / 2
    return np.flatnonzero(is_candidate)


def _sum_winsorised(shards: Sequence[ShardCounts], subjects: NDArray[np.int64]) -> Counts:
    """Return the sum of the shards' winsorised counts of some subjects, (WINDOW_HOURS, n)."""
    devices = np.array([max(shard.devices, 1) for shard in shards])
    summed = np.zeros((WINDOW_HOURS, len(subjects)))
    for start in range(0, len(subjects), _BLOCK_SUBJECTS):
        block = subjects[start : start + _BLOCK_SUBJECTS]
        counts = np.stack([_select_counts(shard, block) for shard in shards])
        summed[:, start : start + _BLOCK_SUBJECTS] = winsorise(counts, devices).sum(axis=0)
    return summed


def _select_counts(shard: ShardCounts, subjects: NDArray[np.int64]) -> Counts:
    """Return a shard's counts of some subjects; 0 for subjects that it does not know."""
    counts = np.zeros((WINDOW_HOURS, len(subjects)))
    if len(shard.subjects):
        columns = np.searchsorted(shard.subjects, subjects).clip(max=len(shard.subjects) - 1)
        known = shard.subjects[columns] == subjects
        counts[:, known] = shard.counts[:, columns[known]]
    return counts


def winsorise(counts: NDArray[np.float64], devices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return counts capped at 4 times the median of the shards' rates.

    `counts` has the shape (shards, hours, subjects), `devices` (shards,). A rate is a count divided
    by the devices of its shard. The median is taken over the rates above 0 of one hour and subject.
    One or two rates are never capped, because they are below 4 times their mean. Caps are whole
    devices and at least one, which keeps the sums exact.
    """
    sizes = devices[:, None, None]
    rates = np.sort(counts / sizes, axis=0)
    positive = np.count_nonzero(rates, axis=0)
    zeros = len(devices) - positive
    middle = [
        np.minimum(zeros + half, len(devices) - 1) for half in ((positive - 1) // 2, positive // 2)
    ]
    low, high = (np.take_along_axis(rates, position[None], axis=0) for position in middle)
    caps = np.rint(_RATE_CAP * (low + high) / 2 * sizes)
    return np.minimum(counts, np.maximum(caps, 1))


def _count_shards(
    shards: Sequence[ShardCounts], trends: _TrendingSubjects, rules: TrendRules
) -> NDArray[np.int64]:
    """Return how many shards see each trend in their own counts, in any hour since it began.

    All these hours count, not only the newest one: a single shard sees a trend less clearly than
    the sum does, so a lasting trend would otherwise switch between global and regional. If
    `rules.surprise` is 0, a shard sees every subject for which it has viewers.
    """
    floor = max(1.0, rules.floor / len(shards)) if shards else 1.0
    since = np.arange(DAY_HOURS)[:, None] >= find_trend_starts(
        trends.strength.surprise, rules.surprise
    )
    shard_counts = np.zeros(len(trends.subjects), np.int64)
    for shard in shards:
        own = compute_strength(
            _select_counts(shard, trends.subjects),
            rules.decay_rate,
            floor,
            first_hour=find_first_hour(shard.counts),
        )
        if rules.surprise > 0:
            shard_counts += (since & (own.surprise >= _SHARD_SURPRISE)).any(axis=0)
        else:
            shard_counts += own.popularity >= 1
    return shard_counts
