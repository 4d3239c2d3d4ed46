"""Tracing: the spans of a commit and of the deltas in it.

A delta's span belongs to the trace of its stream, or of its call, when that is sampled; the commit
is a trace of its own that links to them, because it serves many. Without a tracer provider, nothing
of this costs more than a look at an attribute.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from constellation.core.ingest.deltas import Receipt
    from constellation.core.ingest.inbox import InboxEntry

TRACER: Final = trace.get_tracer("constellation")
_MAX_TRACED_DELTAS: Final = 32
"""Of one commit: more tell nobody more, and devices decide whether they are traced."""
_NANOSECONDS_PER_SECOND: Final = 1e9


def get_sampled_trace() -> SpanContext | None:
    """Return the sampled trace that the caller is part of, None when there is none."""
    context = trace.get_current_span().get_span_context()
    return context if context.is_valid and context.trace_flags.sampled else None


def build_links(entries: Iterable[InboxEntry]) -> list[Link]:
    """Return links to the traces that some deltas are part of."""
    traced = [trace_ for entry in entries if (trace_ := entry.sender.trace) is not None]
    by_id = {(each.trace_id, each.span_id): each for each in traced}  # contexts have no hash
    return [Link(each) for each in by_id.values()][:_MAX_TRACED_DELTAS]


def record_delta_spans(
    entries: Sequence[InboxEntry], receipts: Sequence[Receipt], commit: SpanContext, now: float
) -> None:
    """Make a span for deltas of sampled traces, from their arrival to their acks `now`."""
    sampled = (
        (entry, receipt, traced)
        for entry, receipt in zip(entries, receipts, strict=True)
        if (traced := entry.sender.trace) is not None
    )
    for entry, receipt, traced in islice(sampled, _MAX_TRACED_DELTAS):
        ended = time.time_ns()
        span = TRACER.start_span(
            "delta",
            context=trace.set_span_in_context(NonRecordingSpan(traced)),
            links=[Link(commit)],
            start_time=ended - int((now - entry.arrived_at) * _NANOSECONDS_PER_SECOND),
            attributes={
                "constellation.verdict": receipt.verdict.name.lower(),
                "constellation.seq": entry.delta.seq,
                "constellation.rejected": len(receipt.rejections),
            },
        )
        span.end(ended)
