"""Logs, set up once for each process; how much is logged may change while it runs."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog
from opentelemetry import trace

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any


def set_up_logs(level: str, **always: object) -> None:
    """Log to stderr: for people on a terminal, as JSON elsewhere; `always` is on every line."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of, the store says as well
    on_terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            )
            if not on_terminal
            else structlog.dev.set_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    set_log_level(level)
    structlog.contextvars.bind_contextvars(**always)


def set_log_level(level: str) -> None:
    """Log what is at least so important: debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))


def log_level() -> str:
    """Return what is logged now."""
    level = structlog.get_logger().get_effective_level()
    return logging.getLevelName(
        level or logging.DEBUG
    ).lower()  # 0 before set_up_logs: all is logged


def _add_trace(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the trace and span that a line belongs to, when there is one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = trace.format_trace_id(context.trace_id)
        line["span_id"] = trace.format_span_id(context.span_id)
    return line
