"""A call continues its caller's trace, in whatever kind of method it is."""

from __future__ import annotations

from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from constellation.transport.calls import tracing
from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.transport.calls.echo import call_every_method, run_echo_server

if TYPE_CHECKING:
    from constellation.transport.calls.interceptor import Behaviour, CallKind

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


class TraceRecorder:
    """A wrapper that records the trace in which each method runs."""

    def __init__(self) -> None:
        self.contexts: dict[str, SpanContext] = {}

    @property
    def trace_ids(self) -> dict[str, str]:
        return {
            method: trace.format_trace_id(context.trace_id)
            for method, context in self.contexts.items()
        }

    def wrap(self, method: str, _: CallKind, behaviour: Behaviour) -> Behaviour:
        name = method.rpartition("/")[2]

        async def handle(request: Any, context: Any) -> Any:
            self.contexts[name] = trace.get_current_span().get_span_context()
            return await behaviour(request, context)

        async def handle_stream(request: Any, context: Any) -> Any:
            self.contexts[name] = trace.get_current_span().get_span_context()
            async for response in behaviour(request, context):
                yield response

        return handle_stream if isasyncgenfunction(behaviour) else handle


async def record_call(*metadata: tuple[str, str]) -> SpanContext:
    """Return the trace in which a unary method runs that is called with this metadata."""
    recorder = TraceRecorder()
    async with run_echo_server([tracing.trace_calls, recorder.wrap]) as channel:
        await SyncServiceStub(channel).GetSyncVersion(pb.GetSyncVersionRequest(), metadata=metadata)
    return recorder.contexts["GetSyncVersion"]


async def test_every_kind_of_method_continues_the_callers_trace() -> None:
    recorder = TraceRecorder()
    async with run_echo_server([tracing.trace_calls, recorder.wrap]) as channel:
        await call_every_method(channel, traceparent=TRACEPARENT)

    methods = ("GetSyncVersion", "PullAggregate", "PublishGlobal", "Sync")
    assert recorder.trace_ids == dict.fromkeys(methods, TRACE_ID)


async def test_a_stream_of_a_device_stays_in_the_span_of_the_device() -> None:
    recorder = TraceRecorder()
    async with run_echo_server([tracing.trace_calls, recorder.wrap]) as channel:
        await call_every_method(channel, traceparent=TRACEPARENT)

    context = recorder.contexts["Sync"]
    assert trace.format_span_id(context.span_id) == SPAN_ID
    assert context.trace_flags.sampled


@pytest.mark.parametrize("traceparent", ["", "nonsense", TRACEPARENT + "-more", "00-" + "0" * 52])
async def test_a_bad_traceparent_is_ignored(traceparent: str) -> None:
    context = await record_call(("traceparent", traceparent))

    assert not context.is_valid


async def test_tracestate_is_ignored() -> None:
    context = await record_call(("traceparent", TRACEPARENT), ("tracestate", "vendor=1"))

    assert context.is_valid
    assert not context.trace_state


def test_a_call_carries_the_current_trace() -> None:
    current = SpanContext(
        int(TRACE_ID, 16), int(SPAN_ID, 16), is_remote=False, trace_flags=TraceFlags(1)
    )

    with trace.use_span(NonRecordingSpan(current)):
        metadata = tracing.make_outgoing_metadata()

    assert metadata == (("traceparent", TRACEPARENT),)


def test_a_call_outside_a_trace_carries_nothing() -> None:
    assert tracing.make_outgoing_metadata() == ()
