"""Stats: what a shard counts and measures while it runs."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.ingest.deltas import RejectionReason, Verdict
from constellation.histogram import POWERS, Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.deltas import Receipt

WINDOW_SECONDS: Final = 60.0
"""Rates and latencies are over this much of the past."""
_LAG_INTERVAL_SECONDS: Final = 0.5
"""Between two measurements of the event loop's delay."""
_LAG_SAMPLES: Final = 30
"""Measurements per published figure, which is the worst delay of 15 seconds."""
_BOUNDS: Final = np.geomspace(1e-4, 100.0, 241)
"""Upper bounds of the latency buckets, in seconds, 6 % apart."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from the arrival of deltas until they were durable, over the last minute."""

    count: int
    """Deltas that became durable."""
    mean_seconds: float
    p99_seconds: float


class HelloResult(Enum):
    """How the shard answered a Hello. The lower-case name is the label of the metric."""

    WELCOMED = auto()
    REDIRECTED = auto()
    REFUSED = auto()


class ShedReason(Enum):
    """Why a device was turned away. The lower-case name is the label of the metric."""

    DEVICES = auto()
    """The shard has MAX_DEVICES devices already."""
    STREAMS = auto()
    """The shard has MAX_STREAMS streams already."""
    DRAINING = auto()
    PRESSURE = auto()
    """Memory or disk are nearly full."""
    LOT = auto()
    """Too much comes from devices of one production lot."""
    ADDRESS = auto()
    """Too much comes from one address."""


class UpdateResult(Enum):
    """How a device answered an update. The lower-case name is the label of the metric."""

    APPLIED = auto()
    REFUSED = auto()


class Stats:
    """Counts since the start, and the latencies of the last minute, one bucket array per second."""

    def __init__(self) -> None:
        self.commits = 0
        self.unknown_commits = 0
        """Writes whose answer was lost."""
        self.fenced_writes = 0
        """Groups that the store refused, because another process has taken over the shard."""
        self.deltas = Counter(dict.fromkeys(Verdict, 0))
        """Deltas by their verdict."""
        self.failed_deltas = 0
        """Deltas that were neither applied nor refused; their devices send them again."""
        self.accepted_patterns = 0
        """Pattern rows written."""
        self.rejected_patterns = Counter(dict.fromkeys(RejectionReason, 0))
        """Patterns that were not stored, by reason."""
        self.dropped_signals = 0
        """Watch signals that did not count."""
        self.hellos = Counter(dict.fromkeys(HelloResult, 0))
        """Streams that said Hello, by the shard's answer."""
        self.resyncs = 0
        """Devices that were asked to send all their patterns again."""
        self.slow_readers = 0
        """Streams that were ended because their device did not read."""
        self.shed = Counter(dict.fromkeys(ShedReason, 0))
        """Devices that were turned away, by reason."""
        self.global_acks = Counter(dict.fromkeys(UpdateResult, 0))
        """Updates that devices answered, by their answer."""
        self.recovery_seconds = 0.0
        """How long the start took, until the shard was recovered."""
        self.snapshot_at: float | None = None
        """When this process last wrote an index snapshot, in seconds since 1970."""
        self.loop_lag_seconds = 0.0
        """How late the event loop resumed a sleeping task: the worst of the last 15 seconds."""
        self.commit_seconds = Histogram()
        """Durations of store transactions."""
        self.commit_deltas = Histogram(POWERS)
        """Deltas per store transaction."""
        self._latency_buckets = np.zeros(len(_BOUNDS) + 1, np.int64)
        """Since the start: deltas by the time from arrival until they were durable."""
        self._latency_seconds = 0.0
        """The sum of those times."""
        self._ack_buckets = np.zeros(len(_BOUNDS) + 1, np.int64)
        """Since the start: deltas by the time from arrival until the transport had their ack."""
        self._ack_seconds = 0.0
        """The sum of those times."""
        self._seconds: deque[tuple[int, np.ndarray[tuple[int], np.dtype[np.int64]], float]] = (
            deque()
        )
        """For each of the last seconds: its number, latency buckets, and sum of latencies."""

    def record_durable(self, arrivals: list[float], now: float) -> None:
        """Count deltas that arrived at these loop times and are durable at `now`."""
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
        """Count deltas that arrived at these loop times and whose acks left at `now`."""
        waits = now - np.array(arrivals)
        self._ack_buckets += np.bincount(
            np.searchsorted(_BOUNDS, waits), minlength=len(_BOUNDS) + 1
        )
        self._ack_seconds += float(waits.sum())

    def count_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Count deltas by verdict, their rejected patterns, and their dropped signals."""
        for receipt in receipts:
            self.deltas[receipt.verdict] += 1
            for rejection in receipt.rejections:
                self.rejected_patterns[rejection.reason] += 1
            self.dropped_signals += receipt.signals_dropped

    async def watch_loop_forever(self) -> None:
        """Measure again and again how late the event loop is. Runs until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            worst = 0.0
            for _ in range(_LAG_SAMPLES):
                due = loop.time() + _LAG_INTERVAL_SECONDS
                await asyncio.sleep(_LAG_INTERVAL_SECONDS)
                worst = max(worst, loop.time() - due)
            self.loop_lag_seconds = worst

    def latency(self, now: float) -> Latency | None:
        """Return the latency over the last minute; None when no delta became durable in it."""
        self._drop_old_seconds(now)
        if not self._seconds:
            return None
        buckets = np.sum([counted for _, counted, _ in self._seconds], axis=0)
        count = int(buckets.sum())
        rank = int(np.searchsorted(np.cumsum(buckets), math.ceil(0.99 * count)))
        p99 = float(_BOUNDS[min(rank, len(_BOUNDS) - 1)])
        total = sum(seconds for _, _, seconds in self._seconds)
        return Latency(count, total / count, p99)

    def read_commit_latency_histogram(self) -> tuple[list[float], list[int], float]:
        """Return bounds, the deltas up to each bound and in all, and the sum of their latencies.

        The latency is the time from a delta's arrival until it was durable.
        """
        return *_coarsen(self._latency_buckets), self._latency_seconds

    def read_ack_latency_histogram(self) -> tuple[list[float], list[int], float]:
        """Return the same for the time from a delta's arrival until the transport had its ack."""
        return *_coarsen(self._ack_buckets), self._ack_seconds

    def _drop_old_seconds(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW_SECONDS - 1:
            self._seconds.popleft()


def _coarsen(
    buckets: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> tuple[list[float], list[int]]:
    """Return every eighth bound, and the number of values up to each bound and in all."""
    coarse = np.add.reduceat(buckets, [0, *range(1, len(_BOUNDS), 8), len(_BOUNDS)])
    return _BOUNDS[::8].tolist(), np.cumsum(coarse).tolist()
