"""Runs epochs of shared patterns, which tests do not wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.core.store import Content
from constellation.encoding import quantise
from tests.deltas import embedding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from constellation.core.shard import ShardManager

NOW: Final = 1_800_000_000.0


async def share_patterns(manager: ShardManager) -> None:
    """Merge what waits into shared patterns, and let the index take it in."""
    await manager.share_patterns(NOW)


async def add_to_catalogue(manager: ShardManager, directions: Mapping[str, int]) -> None:
    """Add content items that lie in some directions: shared patterns are made of what they name."""
    await manager.committer.add_contents(
        [
            Content(
                content_id,
                title=content_id,
                content_type=1,
                genres=(),
                year=2000,
                codes=quantise(embedding(direction)[None])[0].tobytes(),
            )
            for content_id, direction in directions.items()
        ]
    )
