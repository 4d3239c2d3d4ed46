"""Inbox: the bounded queue of deltas that wait for a commit, which is fair to each device."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from constellation.encoding import ID_BYTES

if TYPE_CHECKING:
    from constellation.core.ingest.deltas import Delta, Receipt
    from constellation.errors import ConstellationError

MAX_WAITING_DELTAS: Final = 8192
"""While this many deltas wait, streams are not read."""
MAX_WAITING_BYTES: Final = 64 << 20
"""The same in bytes of deltas."""
GROUP_DELTAS: Final = 512
"""The most deltas in one commit: planning more would hold the event loop for too long."""
GROUP_CHANGES: Final = 1024
"""The changes in one commit, after which no further delta is added to it."""
DEVICE_CHANGES: Final = 64
"""The changes of one device in one commit, after which its next deltas wait for another one."""


class DeltaTrace(Protocol):
    """The sampled trace that a delta is part of: opaque to all but the CommitTracer."""


class Sender(Protocol):
    """The sender of a delta, which learns what became of it."""

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
    """The queues of all devices with waiting deltas, which streams fill and the committer empties.

    Devices take turns, so that one that sends much waits for itself and not others for it. The
    deltas of one device stay in order.
    """

    def __init__(self) -> None:
        self._queues: dict[bytes, deque[InboxEntry]] = {}
        """By device, in the order of their next turns."""
        self._count = 0
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._group_arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._is_paused = False

    def __len__(self) -> int:
        return self._count

    @property
    def has_group(self) -> bool:
        """Whether enough deltas wait for a full group."""
        return self._group_arrived.is_set()

    @property
    def is_full(self) -> bool:
        """Whether senders must wait for room. Entries that come without waiting are still taken."""
        return not self._room.is_set()

    def put(self, entry: InboxEntry) -> None:
        """Add an entry. Callers that can wait check `is_full` first, or use `wait_for_room`."""
        queue = self._queues.get(entry.delta.device_id)
        if queue is None:
            queue = self._queues[entry.delta.device_id] = deque()
        queue.append(entry)
        self._count += 1
        self._bytes += entry.delta.size_bytes
        self._arrived.set()
        if self._count >= GROUP_DELTAS:
            self._group_arrived.set()
        if self._count >= MAX_WAITING_DELTAS or self._bytes >= MAX_WAITING_BYTES:
            self._room.clear()

    async def wait_for_room(self) -> None:
        """Return once the inbox is not full. A full inbox has room again when it is half empty.

        All who wait are woken at once, but only as many return as find room.
        """
        while self.is_full:
            await self._room.wait()

    def pause(self) -> None:
        """Be full until `resume`, however few entries there are."""
        self._is_paused = True
        self._room.clear()

    def resume(self) -> None:
        """Be full no longer than the entries require."""
        self._is_paused = False
        self._note_room()

    async def wait_for_entry(self) -> None:
        """Return once the inbox has an entry."""
        await self._arrived.wait()

    async def wait_for_group(self, seconds: float) -> None:
        """Return once enough deltas wait for a full group, after `seconds` at the latest.

        Without a time to wait, what arrives in the same turn of the event loop still comes along.
        """
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._group_arrived.wait()

    def remove_device(self, device_id: bytes) -> list[InboxEntry]:
        """Remove and return the entries of one device."""
        removed = list(self._queues.pop(device_id, ()))
        self._note_removal(removed)
        return removed

    def interrupt(self) -> None:
        """Let `wait_for_entry` return although there may be no entry."""
        self._arrived.set()

    def take_group(self) -> list[InboxEntry]:
        """Remove and return the entries of the next commit: those of each device in turn."""
        taken: list[InboxEntry] = []
        changes = 0
        for device_id in list(self._queues):
            if len(taken) >= GROUP_DELTAS or changes >= GROUP_CHANGES:
                break
            queue = self._queues.pop(device_id)
            of_device = 0
            while queue and of_device < DEVICE_CHANGES and len(taken) < GROUP_DELTAS:
                entry = queue.popleft()
                of_device += count_changes(entry.delta)
                taken.append(entry)
            changes += of_device
            if queue:
                self._queues[device_id] = queue  # behind all others
        self._note_removal(taken)
        return taken

    def _note_removal(self, removed: list[InboxEntry]) -> None:
        self._count -= len(removed)
        if not self._count:
            self._arrived.clear()
        if self._count < GROUP_DELTAS:
            self._group_arrived.clear()
        self._bytes -= sum(entry.delta.size_bytes for entry in removed)
        self._note_room()

    def _note_room(self) -> None:
        has_room = self._count < MAX_WAITING_DELTAS // 2 and self._bytes < MAX_WAITING_BYTES // 2
        if has_room and not self._is_paused:
            self._room.set()


def count_changes(delta: Delta) -> int:
    """Return how many patterns and signals a delta changes, at least 1: what its commit costs."""
    upserts = len(delta.upserts.ids) if delta.upserts is not None else 0
    return max(1, (upserts + len(delta.removed_ids)) // ID_BYTES + len(delta.signal_contents))


class WaitingCaller:
    """The sender of some deltas of one device, which waits for the receipts of all of them."""

    def __init__(self, count: int, trace: DeltaTrace | None = None) -> None:
        self.trace = trace
        self.receipts: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        """The receipts in the order of the deltas, or the first error."""
        self._count = count
        self._collected: list[Receipt] = []

    def complete(self, receipt: Receipt) -> None:
        self._collected.append(receipt)
        if len(self._collected) == self._count and not self.receipts.done():
            self.receipts.set_result(self._collected)

    def fail(self, error: ConstellationError) -> None:
        if not self.receipts.done():  # the caller may have been cancelled
            self.receipts.set_exception(error)
