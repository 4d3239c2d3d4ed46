"""An epoch that finds 100,000 waiting patterns: seconds, delay of the event loop, and memory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.filled_store import GOOD_SHARE, fill_store, open_core
from benchmarks.report import Measurement, compare
from benchmarks.shard_process import make_folder
from benchmarks.tastes import make_named_patterns
from constellation.core.table.groups import BYTES_PER_GROUP, BYTES_PER_PATTERN
from constellation.storage.sqlite.store import open_sqlite

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.core.table.groups import GroupTable

_WAITING: Final = 100_000
_EPOCH_SECONDS: Final = 300.0
"""SHARED_PATTERNS_SECONDS."""
_MAX_DELAY_MS: Final = 20.0
_MAX_BYTES: Final = 64.0
_TICK_SECONDS: Final = 0.001


@dataclass(frozen=True, slots=True)
class _EpochFigures:
    wall_seconds: float
    cpu_seconds: float
    delay_ms: float
    """The longest delay of a callback that was due, also by other programs."""
    work_ms: float
    """The most processor time of the event loop between two callbacks."""
    mean_members: float
    grouped_share: float
    """Of the patterns that waited."""
    bytes_per_pattern: float
    """Memory for grouping, for each stored pattern."""


def measure() -> list[Measurement]:
    """Run one epoch on a store on SQLite, in this process."""
    with make_folder() as folder:
        figures = asyncio.run(_run_epoch(folder))
    waiting = f"{_WAITING:,} waiting"
    return [
        compare("epoch_seconds", figures.wall_seconds, "s", "an epoch", _EPOCH_SECONDS),
        compare("epoch_cpu_seconds", figures.cpu_seconds, "s", "an epoch", _EPOCH_SECONDS),
        compare("epoch_loop_delay", figures.delay_ms, "ms", "the limit", _MAX_DELAY_MS),
        compare("epoch_loop_work", figures.work_ms, "ms", "the limit", _MAX_DELAY_MS),
        compare("epoch_grouped_share", figures.grouped_share, "", waiting, 1.0, "higher"),
        compare("epoch_group_members", figures.mean_members, "", "at least", 9.0),
        compare("group_bytes_per_pattern", figures.bytes_per_pattern, "B", "the limit", _MAX_BYTES),
    ]


async def _run_epoch(folder: Path) -> _EpochFigures:
    count = int(_WAITING / GOOD_SHARE)
    async with open_sqlite(folder) as store:
        await fill_store(store, make_named_patterns(count))
        manager = await open_core(store)
        delays: list[tuple[float, float]] = []
        watching = asyncio.create_task(_watch_loop(delays), name="watch_loop")
        wall, cpu = time.perf_counter(), time.process_time()
        await manager.share_patterns(time.time())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        watching.cancel()
    groups = manager.table.groups
    published = groups.find_published()
    sizes = np.bincount(groups.find_members(published).positions, minlength=len(published))
    return _EpochFigures(
        wall_seconds=wall,
        cpu_seconds=cpu,
        delay_ms=max(delay for delay, _ in delays) * 1000,
        work_ms=max(work for _, work in delays) * 1000,
        mean_members=float(sizes.mean()),
        grouped_share=float(sizes.sum()) / _WAITING,
        bytes_per_pattern=_count_bytes(groups, int(sizes.sum())),
    )


async def _watch_loop(delays: list[tuple[float, float]]) -> None:
    """Note by how much each callback is late, and the thread's work, until cancelled."""
    while True:
        started, work = time.perf_counter(), time.thread_time()
        await asyncio.sleep(_TICK_SECONDS)
        late = time.perf_counter() - started - _TICK_SECONDS
        delays.append((late, time.thread_time() - work))


def _count_bytes(groups: GroupTable, grouped: int) -> float:
    """Return the bytes of memory for each grouped pattern."""
    return float(BYTES_PER_PATTERN + BYTES_PER_GROUP * groups.count / grouped)
