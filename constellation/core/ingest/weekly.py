"""Weekly bounds: how much of what a device sends in one week is taken in.

With them a device weighs the same, however it behaves: one that makes up a pattern a minute, or
likes the whole catalogue day by day, changes no more of what others see than the busiest household.
A row of a device counts what was taken in this week, so the bounds hold over restarts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.table.standing import SECONDS_PER_DAY
from constellation.federated.weeks import find_week

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import DeviceRows


def begin_week(rows: DeviceRows, today: int) -> None:
    """Count anew for devices whose counts are of another week than a day's, in place.

    The day is counted from 1970, UTC.
    """
    week = find_week(today * SECONDS_PER_DAY)
    is_over = rows["week"] != week
    if is_over.any():
        rows["week"][is_over] = week
        for name in ("week_patterns", "week_signals", "week_liked"):
            rows[name][is_over] = 0


def count_pattern_room(rows: DeviceRows, patterns_per_week: int) -> NDArray[np.int64]:
    """Return how many new patterns of each device may still be stored in its week."""
    return np.maximum(patterns_per_week - rows["week_patterns"].astype(np.int64), 0)


def take_liked(row: np.void, count: int, liked_per_week: int) -> int:
    """Return how many of `count` more content items a device may like in its week; count them."""
    taken = min(count, max(0, liked_per_week - int(row["week_liked"])))
    row["week_liked"] += taken
    return taken
