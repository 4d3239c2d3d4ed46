"""Traces: exported by OTLP when the standard OpenTelemetry variables say where to."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_LAST_SECONDS: Final = 2.0
"""How long the last spans may take: a process that ends does not wait for a collector."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@asynccontextmanager
async def traces_exported(service: str, attributes: Mapping[str, str]) -> AsyncIterator[None]:
    """Export this process's spans until the block is left; without an endpoint none is made.

    OpenTelemetry reads its own variables: where to, how (`OTEL_EXPORTER_OTLP_…`), under which name
    (`OTEL_SERVICE_NAME`), and how many (`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`).
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        yield
        return
    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME", service),
            "service.version": version("constellation-tv"),
            **attributes,
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        sending = asyncio.create_task(asyncio.to_thread(provider.shutdown))
        if not (await asyncio.wait([sending], timeout=_LAST_SECONDS))[0]:
            exporter.shutdown()  # ends its attempts
        await sending
