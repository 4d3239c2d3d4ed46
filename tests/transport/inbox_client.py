"""Deltas straight into a shard's inbox, for tests of what lies behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.deltas import PatternSpec, make_delta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.deltas import Receipt
    from constellation.core.shard import ShardManager


async def push_delta(
    manager: ShardManager,
    device: int,
    seq: int,
    upserts: Sequence[PatternSpec] = (),
    removed: Sequence[int] = (),
    signals: Sequence[tuple[str, int]] = (),
) -> Receipt:
    """Return the receipt of one delta, once it is durable."""
    return await manager.apply(make_delta(device, seq, upserts, removed, signals=signals))
