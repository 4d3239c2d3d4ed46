"""Keeps the structure of the index fit for the patterns that it has."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from constellation.core.index.pattern_index import PatternIndex

log = structlog.get_logger(__name__)


async def rebuild_forever(index: PatternIndex, check_seconds: float) -> None:
    """Rebuild the index beside the searches whenever that is due. Runs until cancelled."""
    while True:
        await asyncio.sleep(check_seconds)
        if await asyncio.to_thread(index.is_rebuild_due):
            started = time.monotonic()
            await asyncio.to_thread(index.rebuild)
            seconds = time.monotonic() - started
            log.info(
                "index_rebuilt", kind=index.kind, patterns=len(index), seconds=round(seconds, 3)
            )
