"""Spans of calls: a server's continue what its caller traces, and a client's calls say so.

W3C Trace Context travels in call metadata (`traceparent`), from devices, too.
"""

from __future__ import annotations

from inspect import isasyncgenfunction
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from constellation.transport.interceptor import Behaviour, CallKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grpc.aio import ServicerContext

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_TRACER: Final = trace.get_tracer("constellation")


def are_made() -> bool:
    """Say whether anybody looks at spans: otherwise the calls need none."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Return what a call carries so that its server continues the current trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return tuple(carrier.items())


def spanned(method: str, kind: CallKind, behaviour: Behaviour) -> Behaviour:
    """Return a behaviour with a span for each call; a device's stream only continues its trace.

    A stream lives for hours: a span of it would end long after anybody looked. Its deltas have
    spans of their own.
    """
    if kind is CallKind.BIDI_STREAM:
        return _continued(behaviour)
    if isasyncgenfunction(behaviour):
        return _spanned_stream(method, behaviour)

    async def inside(request: Any, context: ServicerContext[Any, Any]) -> Any:
        with _span(method, context):
            return await behaviour(request, context)

    return inside


def _spanned_stream(method: str, behaviour: Behaviour) -> Behaviour:
    async def inside(request: Any, context: ServicerContext[Any, Any]) -> Any:
        with _span(method, context):
            async for response in behaviour(request, context):
                yield response

    return inside


def _continued(behaviour: Behaviour) -> Behaviour:
    async def inside(requests: Any, context: ServicerContext[Any, Any]) -> Any:
        token = contexts.attach(_parent(context))
        try:
            return await behaviour(requests, context)
        finally:
            contexts.detach(token)

    return inside


def _span(method: str, context: ServicerContext[Any, Any]) -> Any:
    service, _, name = method.strip("/").rpartition("/")
    return _TRACER.start_as_current_span(
        f"{service}/{name}",
        context=_parent(context),
        kind=SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": name},
    )


def _parent(context: ServicerContext[Any, Any]) -> contexts.Context:
    return _PROPAGATOR.extract(dict(_texts(context)))


def _texts(context: ServicerContext[Any, Any]) -> Iterator[tuple[str, str]]:
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            yield key, value
