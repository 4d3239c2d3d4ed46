"""Spans of gRPC calls: a server continues its caller's trace, a client passes its own trace on.

W3C Trace Context travels in the call's metadata, as `traceparent`. Devices may send it as well, so
nothing in it is trusted.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from constellation.transport.calls.counters import read_final_code
from constellation.transport.calls.interceptor import Behaviour, CallKind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from grpc.aio import ServicerContext

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_TRACER: Final = trace.get_tracer("constellation")
_TRACEPARENT: Final = "traceparent"
_TRACEPARENT_LENGTH: Final = 55
_SERVER_ERRORS: Final = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
"""The statuses that OpenTelemetry's conventions for RPC count as errors of a server."""


def is_enabled() -> bool:
    """Return whether spans are exported; if not, calls need no spans."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def make_outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata with which a server continues the current trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple(carrier.items())


def trace_calls(method: str, kind: CallKind, behaviour: Behaviour) -> Behaviour:
    """Return a behaviour that makes a span for each call; a device's stream gets no span.

    A stream lives for hours, so its span would end too late to be of use. It only continues the
    device's trace, for the spans of its deltas.
    """
    if kind is CallKind.BIDI_STREAM:
        return _continue_trace(behaviour)
    if isasyncgenfunction(behaviour):
        return _trace_stream(method, behaviour)

    async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
        with _start_span(method, context) as span, _use_span(span):
            return await behaviour(request, context)

    return handle


def _trace_stream(method: str, behaviour: Behaviour) -> Behaviour:
    async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
        with _start_span(method, context) as span:
            async with aclosing(behaviour(request, context)) as responses:
                while True:
                    with _use_span(
                        span
                    ):  # not across a yield: another task may close the generator
                        response = await anext(responses, None)
                    if response is None:
                        return
                    yield response

    return handle


def _continue_trace(behaviour: Behaviour) -> Behaviour:
    async def handle(requests: Any, context: ServicerContext[Any, Any]) -> Any:
        token = contexts.attach(_extract_parent(context))
        try:
            return await behaviour(requests, context)
        finally:
            contexts.detach(token)

    return handle


@contextmanager
def _start_span(method: str, context: ServicerContext[Any, Any]) -> Iterator[Span]:
    """Make the span of a call. It contains the status, but nothing that was sent or raised."""
    service, _, name = method.strip("/").rpartition("/")
    span = _TRACER.start_span(
        f"{service}/{name}",
        context=_extract_parent(context),
        kind=SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
    )
    status = grpc.StatusCode.OK
    try:
        yield span
    except BaseException as raised:
        status = read_final_code(raised, context)
        raise
    finally:
        span.set_attribute("rpc.grpc.status_code", status.value[0])
        if status in _SERVER_ERRORS:
            span.set_status(StatusCode.ERROR)
        span.end()


def _use_span(span: Span) -> AbstractContextManager[Span]:
    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def _extract_parent(context: ServicerContext[Any, Any]) -> contexts.Context:
    """Return the caller's trace; an empty context without a valid `traceparent`.

    A `traceparent` that is too long is ignored, and so is `tracestate`: a stranger may send both.
    """
    for key, value in context.invocation_metadata() or ():
        if key == _TRACEPARENT and len(value) <= _TRACEPARENT_LENGTH:
            return _PROPAGATOR.extract({key: value})
    return contexts.Context()
