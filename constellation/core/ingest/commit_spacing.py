"""CommitSpacing: how long deltas wait for company before the next commit."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIN_INTERVAL_SECONDS: Final = 0.01
"""The least time from the begin of one commit to that of the next."""
WAIT_PER_COST: Final = 3.0
"""How long to wait after a commit that had company, in durations of that commit."""
MAX_WAIT_SECONDS: Final = 0.06
"""The longest wait after a commit."""
COMPANY_DELTAS: Final = 4
"""A commit of more deltas had company: that of the next one is worth waiting for."""


class CommitSpacing:
    """Spaces the commits of deltas by what the last one cost.

    Most of a commit's cost is the same for one delta and for a hundred, so the busier a shard is,
    the more deltas should share one. A busy shard's commits take longer, and then the next one
    waits longer, within a bound. Where commits have few deltas, nobody waits for more than
    MIN_INTERVAL_SECONDS, and a delta that comes after a longer silence for nothing.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._next_at = float("-inf")

    def remaining_seconds(self) -> float:
        """Return how long the next commit should still wait; 0 or less for not at all."""
        return self._next_at - self._now()

    @contextmanager
    def measure(self, delta_count: int) -> Iterator[None]:
        """Measure what a commit of so many deltas costs, which is the time that the block takes."""
        began = self._now()
        self._next_at = began + MIN_INTERVAL_SECONDS
        yield
        if delta_count > COMPANY_DELTAS:
            ended = self._now()
            wait = min(WAIT_PER_COST * (ended - began), MAX_WAIT_SECONDS)
            self._next_at = max(self._next_at, ended + wait)
