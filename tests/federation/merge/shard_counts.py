"""Hourly counts of shards that watch a few subjects."""

from __future__ import annotations

import numpy as np

from constellation.federated.trends import WINDOW_HOURS
from federation.merge.trends import (
    ShardCounts,
)


def make_shard(number: int, region: str, *series: list[float], devices: int = 1000) -> ShardCounts:
    """Return a shard whose counts end with these values, each after a steady 10 an hour."""
    counts = np.full((WINDOW_HOURS, len(series)), 10.0)
    for column, values in enumerate(series):
        counts[WINDOW_HOURS - len(values) :, column] = values
    return ShardCounts(number, region, devices, np.arange(len(series)), counts)


RISING_COUNTS = [200.0, 200.0]
"""What surprises a shard that is used to 10."""
