"""Runs epochs of shared patterns, which tests do not wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from constellation.core.shard import ShardManager

NOW: Final = 1_800_000_000.0


async def share_patterns(manager: ShardManager) -> None:
    """Merge what waits into shared patterns, and let the index take it in."""
    await manager.share_patterns(NOW)
