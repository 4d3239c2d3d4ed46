"""Trends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.core.trends import Direction


@dataclass(frozen=True, slots=True, eq=False)
class ShardCounts:
    """What one shard counted."""

    shard_id: int
    region: str
    devices: int
    subjects: NDArray[np.int64]
    counts: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TrendRules:
    """Rules."""

    decay_rate: float = 0.95
    floor: float = 50.0
    surprise: float = 6.0
    min_devices: int = 50
    min_shards: int = 3
    limit: int = 50


@dataclass(frozen=True, slots=True)
class FoundTrend:
    """Found."""

    subject: int
    score: float
    region: str
    is_global: bool
    direction: Direction
    popularity: float


def federated_trends(
    shards: Sequence[ShardCounts], rules: TrendRules, subject_count: int
) -> list[FoundTrend]:
    """Return nothing."""
    return []
