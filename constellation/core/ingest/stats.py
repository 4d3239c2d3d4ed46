"""Stats: rates and latencies of a shard, measured, never constants."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.ingest.deltas import RejectionReason, Verdict
from constellation.histogram import POWERS, Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.deltas import Receipt

WINDOW_SECONDS: Final = 60.0
_LAG_INTERVAL_SECONDS: Final = 0.5
_LAG_SAMPLES: Final = 30
"""Looks at the event loop for one figure: what Prometheus scrapes is the worst of 15 seconds."""
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
        self.fenced_writes = 0
        """Writes that the store refused, because another process has taken the shard over."""
        self.deltas = Counter(dict.fromkeys(Verdict, 0))
        """By what became of them."""
        self.failed_deltas = 0
        """Neither applied nor refused: their devices send them again."""
        self.accepted_patterns = 0
        self.rejected_patterns = Counter(dict.fromkeys(RejectionReason, 0))
        """Patterns."""
        self.dropped_signals = 0
        self.hellos = Counter(dict.fromkeys(("welcomed", "redirected", "refused"), 0))
        """Streams that said Hello: welcomed, redirected or refused."""
        self.resyncs = 0
        """Devices that were told to send everything again."""
        self.slow_readers = 0
        """Streams that were cut because nothing was read."""
        self.shed = Counter(dict.fromkeys(("devices", "streams", "draining"), 0))
        """Devices turned away: devices or streams (too many), or draining."""
        self.global_acks = Counter(dict.fromkeys(("applied", "refused"), 0))
        """Updates that devices answered: applied or refused."""
        self.recovery_seconds = 0.0
        self.snapshot_at: float | None = None
        """Seconds since 1970, of the last index snapshot of this process."""
        self.loop_lag_seconds = 0.0
        """How much later than asked for the event loop came back, at worst, of late."""
        self.commit_seconds = Histogram()
        """Store transactions."""
        self.commit_deltas = Histogram(POWERS)
        self._latency_buckets = np.zeros(len(_BOUNDS) + 1, np.int64)
        """Since start: deltas by their latency; ..."""
        self._latency_seconds = 0.0
        """... and the sum of it."""
        self._ack_buckets = np.zeros(len(_BOUNDS) + 1, np.int64)
        """The same, until the ack was handed to the transport."""
        self._ack_seconds = 0.0
        self._seconds: deque[tuple[int, np.ndarray[tuple[int], np.dtype[np.int64]], float]] = (
            deque()
        )

    def record_durable(self, arrivals: list[float], now: float) -> None:
        """Count deltas that arrived at these loop times and are durable `now`."""
        waits = now - np.array(arrivals)
        buckets = np.bincount(np.searchsorted(_BOUNDS, waits), minlength=len(_BOUNDS) + 1)
        self._latency_buckets += buckets
        self._latency_seconds += float(waits.sum())
        second = math.floor(now)
        if self._seconds and self._seconds[-1][0] == second:
            _, counted, total = self._seconds.pop()
            self._seconds.append((second, counted + buckets, total + float(waits.sum())))
        else:
            self._seconds.append((second, buckets, float(waits.sum())))
        self._drop_old_seconds(now)

    def record_acked(self, arrivals: list[float], now: float) -> None:
        """Count deltas that arrived at these loop times and whose acks are on their way `now`."""
        waits = now - np.array(arrivals)
        self._ack_buckets += np.bincount(
            np.searchsorted(_BOUNDS, waits), minlength=len(_BOUNDS) + 1
        )
        self._ack_seconds += float(waits.sum())

    def count_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Count what became of deltas."""
        for receipt in receipts:
            self.deltas[receipt.verdict] += 1
            for rejected in receipt.rejections:
                self.rejected_patterns[rejected.reason] += 1
            self.dropped_signals += receipt.signals_dropped

    async def watch_loop_forever(self) -> None:
        """Measure how late the event loop is. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            worst = 0.0
            for _ in range(_LAG_SAMPLES):
                due = loop.time() + _LAG_INTERVAL_SECONDS
                await asyncio.sleep(_LAG_INTERVAL_SECONDS)
                worst = max(worst, loop.time() - due)
            self.loop_lag_seconds = worst

    def latency(self, now: float) -> Latency | None:
        """Return the last minute's latency; None when no delta became durable in it."""
        self._drop_old_seconds(now)
        if not self._seconds:
            return None
        buckets = np.sum([counted for _, counted, _ in self._seconds], axis=0)
        count = int(buckets.sum())
        rank = int(np.searchsorted(np.cumsum(buckets), math.ceil(0.99 * count)))
        p99 = float(_BOUNDS[min(rank, len(_BOUNDS) - 1)])
        total = sum(seconds for _, _, seconds in self._seconds)
        return Latency(count, total / count, p99)

    def commit_latency_histogram(self) -> tuple[list[float], list[int], float]:
        """Return bounds, the deltas up to each and in all, and the sum of their latencies."""
        return *_coarsen(self._latency_buckets), self._latency_seconds

    def ack_latency_histogram(self) -> tuple[list[float], list[int], float]:
        """Return the same of the time until the ack was handed to the transport."""
        return *_coarsen(self._ack_buckets), self._ack_seconds

    def _drop_old_seconds(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW_SECONDS - 1:
            self._seconds.popleft()


def _coarsen(
    buckets: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> tuple[list[float], list[int]]:
    """Return every eighth bound, and how many were up to each and in all."""
    coarse = np.add.reduceat(buckets, [0, *range(1, len(_BOUNDS), 8), len(_BOUNDS)])
    return _BOUNDS[::8].tolist(), np.cumsum(coarse).tolist()
