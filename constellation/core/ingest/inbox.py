"""Inbox: deltas that wait for a commit, bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from constellation.core.ingest.deltas import Delta, Receipt
    from constellation.errors import ConstellationError

MAX_WAITING_DELTAS: Final = 8192
"""Deltas; a stream is not read while as many wait."""
GROUP_DELTAS: Final = 512
"""Deltas in one commit, so that planning it does not hold the event loop."""


class Sender(Protocol):
    """Who hears what became of a delta."""

    trace: SpanContext | None
    """The sampled trace that it is part of."""

    def complete(self, receipt: Receipt) -> None:
        """Take the receipt; what it says is durable."""
        ...

    def fail(self, error: ConstellationError) -> None:
        """Take the reason why the delta was not applied; nothing of it was stored."""
        ...


@dataclass(slots=True, eq=False)  # not frozen: there is one for each delta
class InboxEntry:
    """A delta that waits."""

    delta: Delta
    sender: Sender
    arrived_at: float
    """Loop time."""


class Inbox:
    """First in, first out. Filled by many streams, emptied by the committer."""

    def __init__(self) -> None:
        self._entries: deque[InboxEntry] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def has_group(self) -> bool:
        """Say whether as many wait as one commit takes."""
        return len(self._entries) >= GROUP_DELTAS

    @property
    def is_full(self) -> bool:
        return not self._room.is_set()

    def put(self, entry: InboxEntry) -> None:
        """Add an entry; whoever may wait looks at `is_full` first."""
        self._entries.append(entry)
        self._arrived.set()
        if len(self._entries) >= MAX_WAITING_DELTAS:
            self._room.clear()

    async def wait_for_room(self) -> None:
        """Return once the inbox is not full."""
        await self._room.wait()

    async def wait_for_entry(self) -> None:
        """Return once an entry waits."""
        await self._arrived.wait()

    def take_group(self) -> list[InboxEntry]:
        """Return the oldest entries, up to GROUP_DELTAS."""
        count = min(len(self._entries), GROUP_DELTAS)
        taken = [self._entries.popleft() for _ in range(count)]
        if not self._entries:
            self._arrived.clear()
        if len(self._entries) < MAX_WAITING_DELTAS // 2:
            self._room.set()
        return taken
