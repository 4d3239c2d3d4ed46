from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, TraceFlags

from constellation.core.ingest.deltas import Receipt, Verdict
from constellation.core.ingest.inbox import InboxEntry, WaitingCaller
from constellation.telemetry.commit_traces import OpenTelemetryTracer
from tests.deltas import make_delta


class RecordedSpans:
    """A tracer whose spans stay in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OpenTelemetryTracer(provider)

    def by_name(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


def make_context(trace_id: int) -> SpanContext:
    return SpanContext(trace_id, 7, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def make_entry(seq: int, context: SpanContext | None) -> InboxEntry:
    return InboxEntry(make_delta(0, seq), WaitingCaller(1, context), 1.0)


async def test_a_sampled_delta_has_a_span_in_its_own_trace() -> None:
    spans = RecordedSpans()
    entries = [make_entry(1, make_context(11)), make_entry(2, None)]
    receipts = [Receipt(Verdict.APPLIED, 1), Receipt(Verdict.APPLIED, 2)]

    with spans.tracer.trace_commit(entries) as commit, spans.tracer.trace_write("memory"):
        commit.record_deltas(receipts, now=1.5)

    (delta,), (whole,) = spans.by_name("delta"), spans.by_name("commit")
    (write,) = spans.by_name("store.commit")
    assert delta.context.trace_id == 11
    assert delta.links[0].context == whole.context
    assert delta.end_time - delta.start_time == pytest.approx(0.5e9)  # type: ignore[operator]  # it has ended
    assert [link.context.trace_id for link in whole.links] == [11]
    assert write.parent == whole.context


async def test_a_commit_links_to_each_trace_once_and_to_few() -> None:
    spans = RecordedSpans()
    entries = [make_entry(seq, make_context(seq // 2 + 1)) for seq in range(100)]
    receipts = [Receipt(Verdict.APPLIED, 1)] * 100

    with spans.tracer.trace_commit(entries) as commit:
        commit.record_deltas(receipts, now=1.5)

    (whole,) = spans.by_name("commit")
    assert len({link.context.trace_id for link in whole.links}) == len(whole.links) == 32
    assert len(spans.by_name("delta")) == 32


def test_only_a_sampled_trace_is_continued() -> None:
    spans = RecordedSpans()
    unsampled = SpanContext(11, 7, is_remote=True)

    with trace.use_span(trace.NonRecordingSpan(make_context(12))):
        assert spans.tracer.find_current_trace() == make_context(12)
    with trace.use_span(trace.NonRecordingSpan(unsampled)):
        assert spans.tracer.find_current_trace() is None
    assert spans.tracer.find_current_trace() is None
