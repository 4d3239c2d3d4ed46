"""SnapshotWriter: keeps the index on disk, so that the next start need not build it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from constellation.errors import NotReadyError
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from constellation.core.index.pattern_index import PatternIndex
    from constellation.core.ingest.stats import Stats
    from constellation.core.recovery import SnapshotFiles
    from constellation.core.shared.pattern_sharing import PatternSharing

log = structlog.get_logger(__name__)


class SnapshotWriter:
    """Writes snapshots of the index at intervals, and early when one is asked for."""

    def __init__(self, index: PatternIndex, sharing: PatternSharing, stats: Stats) -> None:
        self._index = index
        self._sharing = sharing
        self._stats = stats
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Ask for a snapshot soon, because the present one contains what was deleted."""
        self._requested.set()

    async def write(self, files: SnapshotFiles) -> None:
        """Write a snapshot of the index; a failure is logged, because a snapshot is only a cache.

        An exact index is not written: it is built at every start, and needs no log of changes.
        """
        await self._sharing.fill_index()
        lsn = self._sharing.lsn
        payload = await asyncio.to_thread(self._index.dump)
        try:
            if payload is None:  # a snapshot of an earlier index could not be used any more
                await asyncio.to_thread(files.discard)
            else:
                await asyncio.to_thread(files.write, lsn, payload)
        except (OSError, NotReadyError) as error:  # the next snapshot may fit
            log.warning("snapshot_failed", lsn=lsn, problem=str(error))
            return
        if payload is not None:
            self._stats.snapshot_at = read_clock()
            log.info("snapshot_written", lsn=lsn, size_bytes=len(payload))

    async def write_forever(self, files: SnapshotFiles, interval_seconds: float) -> None:
        """Write a snapshot at intervals, and whenever one is requested, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_seconds):
                    await self._requested.wait()
                self._requested.clear()
            await self.write(files)
