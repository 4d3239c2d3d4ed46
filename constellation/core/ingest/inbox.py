"""Inbox: the bounded queue of deltas that wait for a commit."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from constellation.core.ingest.deltas import Delta, Receipt
    from constellation.core.ingest.observers import DeltaTrace
    from constellation.errors import ConstellationError

MAX_WAITING_DELTAS: Final = 8192
"""While this many deltas wait, streams are not read."""
MAX_WAITING_BYTES: Final = 64 << 20
"""The same in bytes of deltas."""
GROUP_DELTAS: Final = 512
"""The most deltas in one commit: planning more would hold the event loop for too long."""


class Sender(Protocol):
    """The sender of a delta, which is told what became of it."""

    trace: DeltaTrace | None
    """The sampled trace that the delta is part of."""

    def complete(self, receipt: Receipt) -> None:
        """Take the receipt of a delta: what it says is durable."""
        ...

    def fail(self, error: ConstellationError) -> None:
        """Take the reason why a delta was not acknowledged.

        After a ShardFullError nothing was stored; after a NotReadyError the device sends it again.
        """
        ...


@dataclass(slots=True, eq=False)  # not frozen: there is one for each delta
class InboxEntry:
    """A delta that waits for a commit."""

    delta: Delta
    sender: Sender
    arrived_at: float
    """Loop time at which it arrived."""


class Inbox:
    """A first-in, first-out queue that many streams fill and the committer empties."""

    def __init__(self) -> None:
        self._entries: deque[InboxEntry] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def has_group(self) -> bool:
        """Whether enough deltas wait for a full group."""
        return len(self._entries) >= GROUP_DELTAS

    @property
    def is_full(self) -> bool:
        """Whether senders must wait for room. Entries that come without waiting are still taken."""
        return not self._room.is_set()

    def put(self, entry: InboxEntry) -> None:
        """Add an entry. Callers that can wait check `is_full` first, or use `wait_for_room`."""
        self._entries.append(entry)
        self._bytes += entry.delta.size_bytes
        self._arrived.set()
        if len(self._entries) >= MAX_WAITING_DELTAS or self._bytes >= MAX_WAITING_BYTES:
            self._room.clear()

    async def wait_for_room(self) -> None:
        """Return once the inbox is not full. A full inbox has room again when it is half empty.

        All who wait are woken at once, but only as many return as find room.
        """
        while self.is_full:
            await self._room.wait()

    async def wait_for_entry(self) -> None:
        """Return once the inbox has an entry."""
        await self._arrived.wait()

    def remove_device(self, device_id: bytes) -> list[InboxEntry]:
        """Remove and return the entries of one device."""
        removed = [each for each in self._entries if each.delta.device_id == device_id]
        if removed:
            self._entries = deque(e for e in self._entries if e.delta.device_id != device_id)
            self._note_removal(removed)
        return removed

    def interrupt(self) -> None:
        """Let `wait_for_entry` return although there may be no entry."""
        self._arrived.set()

    def take_group(self) -> list[InboxEntry]:
        """Remove and return the oldest entries, at most GROUP_DELTAS."""
        count = min(len(self._entries), GROUP_DELTAS)
        taken = [self._entries.popleft() for _ in range(count)]
        self._note_removal(taken)
        return taken

    def _note_removal(self, removed: list[InboxEntry]) -> None:
        if not self._entries:
            self._arrived.clear()
        self._bytes -= sum(entry.delta.size_bytes for entry in removed)
        if len(self._entries) < MAX_WAITING_DELTAS // 2 and self._bytes < MAX_WAITING_BYTES // 2:
            self._room.set()


@dataclass(slots=True, eq=False)
class WaitingCaller:
    """The sender of one delta that waits for its receipt."""

    receipt: asyncio.Future[Receipt]
    trace: DeltaTrace | None

    def complete(self, receipt: Receipt) -> None:
        if not self.receipt.done():  # the caller may have been cancelled
            self.receipt.set_result(receipt)

    def fail(self, error: ConstellationError) -> None:
        if not self.receipt.done():
            self.receipt.set_exception(error)
