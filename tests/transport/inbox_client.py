"""Deltas straight into a shard's inbox, for tests of what lies behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from constellation.core.ingest.inbox import InboxEntry
from tests.deltas import PatternSpec, make_delta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.trace import SpanContext

    from constellation.core.ingest.deltas import Receipt
    from constellation.core.shard import ShardManager
    from constellation.errors import ConstellationError


class AwaitableSender:
    """A sender that can be awaited."""

    trace: SpanContext | None = None

    def __init__(self) -> None:
        self.receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()

    def complete(self, receipt: Receipt) -> None:
        self.receipt.set_result(receipt)

    def fail(self, error: ConstellationError) -> None:
        self.receipt.set_exception(error)


async def push_delta(
    manager: ShardManager,
    device: int,
    seq: int,
    upserts: Sequence[PatternSpec] = (),
    removed: Sequence[int] = (),
    signals: Sequence[tuple[str, int]] = (),
) -> Receipt:
    """Return what became of one delta, once it is durable."""
    sender = AwaitableSender()
    arrived_at = asyncio.get_running_loop().time()
    sent = make_delta(device, seq, upserts, removed, signals=signals)
    manager.inbox.put(InboxEntry(sent, sender, arrived_at))
    return await sender.receipt
