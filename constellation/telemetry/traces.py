"""Traces of a process: exported over OTLP when OpenTelemetry's own variables name an endpoint."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from constellation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider

_FLUSH_TIMEOUT_SECONDS: Final = 2.0
"""How long a process that ends waits for its last spans to be exported."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TIMEOUTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_COMPRESSIONS: Final = ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
_QUEUE, _BATCH = "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
_COUNTS: Final = (_QUEUE, _BATCH, "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT")
_LIMITS: Final = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
)
_SAMPLER, _RATIO = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_RATIO_SAMPLERS: Final = ("traceidratio", "parentbased_traceidratio")
_SAMPLERS: Final = (
    "always_on",
    "always_off",
    "parentbased_always_on",
    "parentbased_always_off",
    *_RATIO_SAMPLERS,
)
_COUNT: Final = re.compile(r"[1-9][0-9]{0,8}")
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@asynccontextmanager
async def export_traces(service: str, attributes: Mapping[str, str]) -> AsyncIterator[None]:
    """Export this process's spans until the block is left; make none without an endpoint.

    OpenTelemetry reads its own variables: the endpoint and its protocol (`OTEL_EXPORTER_OTLP_…`),
    the name of the service (`OTEL_SERVICE_NAME`), and the share of traces (`OTEL_TRACES_SAMPLER`,
    `OTEL_TRACES_SAMPLER_ARG`). Raises ConfigError when one of them is invalid.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        yield
        return
    _unset_empty_variables()
    _check_variables(os.environ)
    try:
        provider, exporter = _build_provider(service, attributes)
    except ValueError as error:  # about a variable that is not checked here; the error names it
        raise ConfigError(f"OTEL_…: {error}") from error
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        sending = asyncio.create_task(asyncio.to_thread(provider.shutdown))
        if not (await asyncio.wait([sending], timeout=_FLUSH_TIMEOUT_SECONDS))[0]:
            exporter.shutdown()  # makes it give up
        await sending


def _unset_empty_variables() -> None:
    """Unset empty variables: OpenTelemetry specifies so, but its Python library does not do it."""
    empty = [name for name in os.environ if name.startswith("OTEL_") and not os.environ[name]]
    for name in empty:
        del os.environ[name]


def _check_variables(env: Mapping[str, str]) -> None:
    """Raise ConfigError for values on which OpenTelemetry would crash, or which it would ignore."""

    def find_problems(
        names: Sequence[str], must: str, is_right: Callable[[str], bool]
    ) -> list[str]:
        bad = [name for name in names if name in env and not is_right(env[name].strip())]
        return [f"{name}: must be {must}, got {env[name]!r}" for name in bad]

    problems = [
        *find_problems(_TIMEOUTS, "more than 0 seconds", _is_positive),
        *find_problems(_COMPRESSIONS, "gzip, or unset", lambda text: text.lower() == "gzip"),
        *find_problems(_LIMITS, "a whole number from 0 to 999999999, or unset", _is_limit),
        *find_problems((_SAMPLER,), f"one of {', '.join(_SAMPLERS)}", _is_sampler),
        *find_problems(_COUNTS, "a whole number from 1 to 999999999", _is_count),
    ]
    if env.get(_SAMPLER, "").strip().lower() in _RATIO_SAMPLERS:
        problems += find_problems((_RATIO,), "a number from 0 to 1", _is_ratio)
    if not problems:
        queue, batch = int(env.get(_QUEUE, 2048)), int(env.get(_BATCH, 512))
        if batch > queue:
            problems.append(f"{_QUEUE}: must be at least {_BATCH}, which is {batch}, got {queue}")
    if problems:
        raise ConfigError("; ".join(problems))


def _is_positive(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and float(text) > 0


def _is_limit(text: str) -> bool:
    return text in ("0", "unset") or _is_count(text)


def _is_sampler(text: str) -> bool:
    return text.lower() in _SAMPLERS


def _is_ratio(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and float(text) <= 1


def _is_count(text: str) -> bool:
    return bool(_COUNT.fullmatch(text))


def _build_provider(
    service: str, attributes: Mapping[str, str]
) -> tuple[TracerProvider, OTLPSpanExporter]:
    # Not at the top: the package reads its variables when it is imported, and raises for wrong
    # ones, in every command.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

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
    return provider, exporter
