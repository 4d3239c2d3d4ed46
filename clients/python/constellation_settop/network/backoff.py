"""When to try again: full jitter, growing with each failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

_MAX_DOUBLINGS: Final = 32


class Backoff:
    """Delays drawn from [0, min(cap, base x 2^n)] for the n-th failure in a row."""

    def __init__(self, base_seconds: float, cap_seconds: float, random: Random) -> None:
        self._base_seconds = base_seconds
        self._cap_seconds = cap_seconds
        self._random = random
        self._failures = 0

    def next_seconds(self) -> float:
        """Draw the delay before the next attempt, and count a failure."""
        ceiling = min(self._cap_seconds, self._base_seconds * 2**self._failures)
        self._failures = min(self._failures + 1, _MAX_DOUBLINGS)
        return self._random.uniform(0, ceiling)

    def reset(self) -> None:
        """Begin anew; call it after a Welcome, not after a mere connect."""
        self._failures = 0
