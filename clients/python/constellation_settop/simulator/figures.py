"""Figures: what the simulated devices did, and how the shard answered."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

_KIB_PER_MIB: Final = 1024


@dataclass(slots=True)
class Figures:
    """Counts of all devices of one run, while it goes on."""

    online: int = 0
    """Devices on the network now."""
    connected: int = 0
    """Devices that a shard has accepted now."""
    sessions: int = 0
    """Sessions that a shard accepted."""
    views: int = 0
    waiting: int = 0
    """Deltas of devices on the network that are not acked now."""
    acked: int = 0
    """Deltas that a shard acked."""
    updates: int = 0
    """Global updates that arrived."""
    ack_seconds: list[float] = field(default_factory=list)
    """From each delta's frame to its ack."""
    recommend_seconds: list[float] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    """Why sessions failed, and how often."""
    rejections: Counter[str] = field(default_factory=Counter)
    """Why patterns were not stored, and how often."""

    def record_ack(self, _: int, seconds: float) -> None:
        """Count one ack."""
        self.acked += 1
        self.ack_seconds.append(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a whole run came to. Times are in milliseconds."""

    devices: int
    seconds: float
    views: int
    sessions: int
    acked: int
    acked_per_second: float
    waiting: int
    """Deltas that were not acked at the end, those of devices without network left out."""
    updates: int
    ack_p50_ms: float
    ack_p99_ms: float
    ack_max_ms: float
    recommend_p99_ms: float
    rejections: dict[str, int]
    problems: dict[str, int]
    memory_mib: float
    """The most memory that the simulator used."""
    cpu_seconds: float
    """Processor time of the simulator."""


def summarize(figures: Figures, devices: int, seconds: float, waiting: int) -> Summary:
    """Return the summary of a run of `seconds`."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    unit = _KIB_PER_MIB * (_KIB_PER_MIB if sys.platform == "darwin" else 1)
    return Summary(
        devices=devices,
        seconds=round(seconds, 1),
        views=figures.views,
        sessions=figures.sessions,
        acked=figures.acked,
        acked_per_second=round(figures.acked / seconds, 1),
        waiting=waiting,
        updates=figures.updates,
        ack_p50_ms=_percentile_ms(figures.ack_seconds, 50),
        ack_p99_ms=_percentile_ms(figures.ack_seconds, 99),
        ack_max_ms=_percentile_ms(figures.ack_seconds, 100),
        recommend_p99_ms=_percentile_ms(figures.recommend_seconds, 99),
        rejections=dict(figures.rejections),
        problems=dict(figures.problems.most_common(10)),
        memory_mib=round(usage.ru_maxrss / unit, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
    )


def _percentile_ms(seconds: list[float], percent: float) -> float:
    return round(float(np.percentile(seconds, percent)) * 1000, 1) if seconds else 0.0
