"""Stats: rates and latencies of a shard, measured, never constants."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.deltas import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.deltas import Receipt

WINDOW_SECONDS: Final = 60.0
_BOUNDS: Final = np.geomspace(1e-4, 100.0, 241)
"""Upper bounds of the latency buckets, in seconds: 6 % apart."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from a delta's arrival until it was durable, over the last minute."""

    count: int
    mean_seconds: float
    p99_seconds: float


class Stats:
    """Counts since start, and the latencies of the last minute in one bucket array a second."""

    def __init__(self) -> None:
        self.commits = 0
        self.unknown_commits = 0
        self.deltas_applied = 0
        self.deltas_duplicate = 0
        self.deltas_failed = 0
        self.patterns_accepted = 0
        self.patterns_rejected = 0
        self.signals_dropped = 0
        self.recovery_seconds = 0.0
        self._buckets = np.zeros(len(_BOUNDS) + 1, np.int64)
        """Since start: deltas by their latency; ..."""
        self._total_seconds = 0.0
        """... and the sum of it."""
        self._seconds: deque[tuple[int, np.ndarray[tuple[int], np.dtype[np.int64]], float]] = (
            deque()
        )

    def record(self, arrivals: list[float], now: float) -> None:
        """Count deltas that arrived at these loop times and are durable `now`."""
        waits = now - np.array(arrivals)
        buckets = np.bincount(np.searchsorted(_BOUNDS, waits), minlength=len(_BOUNDS) + 1)
        self._buckets += buckets
        self._total_seconds += float(waits.sum())
        second = math.floor(now)
        if self._seconds and self._seconds[-1][0] == second:
            _, counted, total = self._seconds.pop()
            self._seconds.append((second, counted + buckets, total + float(waits.sum())))
        else:
            self._seconds.append((second, buckets, float(waits.sum())))
        self._forget(now)

    def count(self, receipts: Sequence[Receipt]) -> None:
        """Count what became of deltas."""
        for receipt in receipts:
            self.deltas_applied += receipt.verdict is Verdict.APPLIED
            self.deltas_duplicate += receipt.verdict is Verdict.DUPLICATE
            self.patterns_rejected += len(receipt.rejected)
            self.signals_dropped += receipt.signals_dropped

    def latency(self, now: float) -> Latency | None:
        """Return the last minute's latency; None when no delta became durable in it."""
        self._forget(now)
        if not self._seconds:
            return None
        buckets = np.sum([counted for _, counted, _ in self._seconds], axis=0)
        count = int(buckets.sum())
        rank = int(np.searchsorted(np.cumsum(buckets), math.ceil(0.99 * count)))
        p99 = float(_BOUNDS[min(rank, len(_BOUNDS) - 1)])
        total = sum(seconds for _, _, seconds in self._seconds)
        return Latency(count, total / count, p99)

    def since_start(self) -> tuple[list[float], list[int], float]:
        """Return every eighth bound, the deltas up to each and beyond, and the sum of latencies."""
        coarse = np.add.reduceat(self._buckets, [0, *range(1, len(_BOUNDS), 8), len(_BOUNDS)])
        return _BOUNDS[::8].tolist(), coarse.tolist(), self._total_seconds

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW_SECONDS - 1:
            self._seconds.popleft()
