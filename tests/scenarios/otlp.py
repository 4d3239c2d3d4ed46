"""A receiver of spans over OTLP, which keeps all spans."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage


@dataclass(frozen=True)
class ReceivedSpan:
    """A span, with the attributes of the process that sent it."""

    resource: dict[str, str]
    message: SpanMessage

    @property
    def service(self) -> str:
        return self.resource["service.name"]

    @property
    def trace_id(self) -> str:
        return self.message.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.message.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.message.parent_span_id.hex()

    @property
    def links(self) -> list[tuple[str, str]]:
        """The (trace id, span id) pairs that this span links to."""
        return [(link.trace_id.hex(), link.span_id.hex()) for link in self.message.links]

    @property
    def attributes(self) -> dict[str, str]:
        return _to_strings(self.message.attributes)


class SpanCollector(TraceServiceServicer):
    """An OTLP receiver that keeps every span."""

    def __init__(self) -> None:
        self.address = ""
        self.spans: list[ReceivedSpan] = []

    async def Export(self, request: Any, _: Any) -> Any:  # noqa: N802 - the name in OTLP
        for of_resource in request.resource_spans:
            resource = _to_strings(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                self.spans += [ReceivedSpan(resource, message) for message in of_scope.spans]
        return pb.ExportTraceServiceResponse()

    def find_spans(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.message.name == name]

    def make_settings(self, **more: str) -> dict[str, str]:
        """Return the settings with which a process sends its spans to this receiver."""
        return {"otel_exporter_otlp_endpoint": f"http://{self.address}", **more}


@asynccontextmanager
async def run_collector() -> AsyncIterator[SpanCollector]:
    collector, server = SpanCollector(), grpc.aio.server()
    add_to: Any = add_TraceServiceServicer_to_server
    add_to(collector, server)
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


def _to_strings(attributes: Any) -> dict[str, str]:
    return {
        each.key: str(getattr(each.value, each.value.WhichOneof("value"))) for each in attributes
    }
