"""The spans of commits and of the deltas in them, made with OpenTelemetry.

A delta's span belongs to the trace of its stream or call, when that trace is sampled. A commit is a
trace of its own that links to them, because it serves many.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Tracer, TracerProvider

    from constellation.core.ingest.deltas import Receipt
    from constellation.core.ingest.inbox import InboxEntry

_MAX_TRACED_DELTAS: Final = 32
"""Deltas traced per commit: devices decide whether they are traced, and more spans tell no more."""
_NANOSECONDS_PER_SECOND: Final = 1e9


class OpenTelemetryTracer:
    """The core's CommitTracer. Without a provider it uses that of the process."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("constellation", tracer_provider=provider)

    def find_current_trace(self) -> SpanContext | None:
        """Return the sampled trace that the caller is part of; None when there is none."""
        context = trace.get_current_span().get_span_context()
        return context if context.is_valid and context.trace_flags.sampled else None

    @contextmanager
    def trace_commit(self, entries: Sequence[InboxEntry]) -> Iterator[_CommitSpan]:
        """Return a span for the commit of some deltas, which links to their traces."""
        with self._tracer.start_as_current_span(
            "commit", links=_build_links(entries), attributes={"deltas": len(entries)}
        ) as span:
            yield _CommitSpan(self._tracer, span.get_span_context(), entries)

    def trace_write(self, store_kind: str) -> AbstractContextManager[object]:
        """Return a span for one write of the store."""
        return self._tracer.start_as_current_span(
            "store.commit", attributes={"db.system.name": store_kind}
        )


class _CommitSpan:
    """The span of one commit, to which the spans of its deltas link."""

    def __init__(self, tracer: Tracer, context: SpanContext, entries: Sequence[InboxEntry]) -> None:
        self._tracer = tracer
        self._context = context
        self._entries = entries

    def record_deltas(self, receipts: Sequence[Receipt], now: float) -> None:
        """Make a span for deltas of sampled traces, from their arrival to their acks `now`."""
        sampled = (
            (entry, receipt, context)
            for entry, receipt in zip(self._entries, receipts, strict=True)
            if isinstance(context := entry.sender.trace, SpanContext)
        )
        for entry, receipt, context in islice(sampled, _MAX_TRACED_DELTAS):
            ended = time.time_ns()
            span = self._tracer.start_span(
                "delta",
                context=trace.set_span_in_context(NonRecordingSpan(context)),
                links=[Link(self._context)],
                start_time=ended - int((now - entry.arrived_at) * _NANOSECONDS_PER_SECOND),
                attributes={
                    "constellation.verdict": receipt.verdict.name.lower(),
                    "constellation.seq": entry.delta.seq,
                    "constellation.rejected": len(receipt.rejections),
                },
            )
            span.end(ended)


def _build_links(entries: Sequence[InboxEntry]) -> list[Link]:
    """Return links to the distinct traces that some deltas are part of."""
    contexts = [
        context for entry in entries if isinstance(context := entry.sender.trace, SpanContext)
    ]
    by_id = {(each.trace_id, each.span_id): each for each in contexts}  # contexts have no hash
    return [Link(each) for each in by_id.values()][:_MAX_TRACED_DELTAS]
