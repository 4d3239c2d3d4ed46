"""Histogram: how often something took how long, counted where it happens, read when scraped."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS: Final = tuple(step * 10.0**power for power in range(-4, 1) for step in (1, 2, 5))
"""Upper bounds for what takes from a tenth of a millisecond to five seconds."""
MINUTES: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds, in seconds, for what may take minutes."""
POWERS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""Upper bounds for counts."""


class Histogram:
    """Counts by upper bound. Observed from one thread at a time, read from any."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.total = 0.0
        """Sum of what was observed."""
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[int]:
        """Return how many values were at most each bound, then how many there were in all."""
        return list(accumulate(self._counts))
