"""ShardObservers: the parts of the program outside the core that learn what a shard does."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from constellation.core.ingest.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from constellation.core.ingest.deltas import Receipt
    from constellation.core.ingest.inbox import DeltaTrace, InboxEntry


class CommitSpan(Protocol):
    """The span of one commit."""

    def record_deltas(self, receipts: Sequence[Receipt], now: float) -> None:
        """Record the spans of the commit's deltas, which are acknowledged at loop time `now`."""
        ...


class CommitTracer(Protocol):
    """Traces commits and deltas. Its methods are on the hot path."""

    def find_current_trace(self) -> DeltaTrace | None:
        """Return the sampled trace that the caller is part of; None when there is none."""
        ...

    def trace_commit(self, entries: Sequence[InboxEntry]) -> AbstractContextManager[CommitSpan]:
        """Return a span for the commit of some deltas; it ends with the block."""
        ...

    def trace_write(self, store_kind: str) -> AbstractContextManager[object]:
        """Return a span for one write of the store; it ends with the block."""
        ...


class UpdateQueue(Protocol):
    """Sends devices an update of the global state and of their similar patterns, soon."""

    def queue_devices(self, device_ids: Sequence[bytes]) -> None:
        """Send an update to these devices, if they are connected."""
        ...

    def queue_all(self) -> None:
        """Send an update to every connected device."""
        ...


class _NoSpan:
    def record_deltas(self, receipts: Sequence[Receipt], now: float) -> None:
        pass


_NO_SPAN = nullcontext(_NoSpan())  # may be entered again and again


class NoTracer:
    """A CommitTracer that makes no spans."""

    def find_current_trace(self) -> DeltaTrace | None:
        return None

    def trace_commit(self, entries: Sequence[InboxEntry]) -> AbstractContextManager[CommitSpan]:  # noqa: ARG002 - nothing is traced
        return _NO_SPAN

    def trace_write(self, store_kind: str) -> AbstractContextManager[object]:  # noqa: ARG002 - nothing is traced
        return _NO_SPAN


class NoUpdates:
    """An UpdateQueue for a shard without connected devices."""

    def queue_devices(self, device_ids: Sequence[bytes]) -> None:
        pass

    def queue_all(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class ShardObservers:
    """Who counts, traces and passes on what a shard does."""

    stats: Stats = field(default_factory=Stats)
    tracer: CommitTracer = field(default_factory=NoTracer)
    updates: UpdateQueue = field(default_factory=NoUpdates)
