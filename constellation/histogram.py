"""Histogram: counts of durations or sizes, made where they occur and read when scraped."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS: Final = tuple(step * 10.0**power for power in range(-4, 1) for step in (1, 2, 5))
"""Upper bounds, in seconds, for durations from a tenth of a millisecond to five seconds."""
MINUTES: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds, in seconds, for durations of up to ten minutes."""
POWERS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Upper bounds for counts."""


class Histogram:
    """Counts of values by upper bound. One thread at a time may observe; any may read."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.total = 0.0
        """The sum of all observed values."""
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[int]:
        """Return the number of values up to each bound, then the number of all values."""
        return list(accumulate(self._counts))
