"""Logs of a process: set up once at its start; the level may change while it runs."""

from __future__ import annotations

import atexit
import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog
from opentelemetry import trace

from constellation.telemetry.log_limit import LogLimit
from constellation.telemetry.log_writer import LogWriter

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, Processor


_LAST_LINES_SECONDS: Final = 1.0
"""How long the end of the process waits for whoever reads the log."""
_MIN_LIBRARY_LEVEL: Final = logging.WARNING
"""The least level that libraries log at, unless our own level is debug."""


def set_up_logs(level: str, **context: object) -> None:
    """Log to stderr from now on: for people on a terminal, otherwise as JSON.

    Every line contains `context`. What libraries log through Python's own `logging` becomes lines
    of the same form.
    """
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # the store logs what psycopg warns of
    on_terminal = sys.stderr.isatty()

    def add_context(_: object, __: str, line: EventDict) -> EventDict:
        return {**line, **context}

    begin: list[Processor] = [
        add_context,
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if on_terminal:
        # without local variables: these may contain what devices sent, and passwords
        coloured = structlog.dev.RichTracebackFormatter(show_locals=False)
        end: list[Processor] = [
            structlog.dev.set_exc_info,
            structlog.dev.ConsoleRenderer(exception_formatter=coloured),
        ]
    else:
        traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        end = [
            structlog.processors.ExceptionRenderer(traceback),
            structlog.processors.JSONRenderer(),
        ]
    limit, stream = LogLimit(), _open_stream()
    structlog.configure(
        processors=[limit, *begin, *end], logger_factory=_StreamLoggerFactory(stream)
    )
    library_handler = logging.StreamHandler(stream)
    library_handler.addFilter(limit)
    library_handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(["suppressed"]),
                *begin,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end],
        )
    )
    logging.getLogger().handlers[:] = [library_handler]
    set_log_level(level)


def set_log_level(level: str) -> None:
    """Log events of at least this level from now on: debug, info, warning or error."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    logging.getLogger().setLevel(
        number if number == logging.DEBUG else max(number, _MIN_LIBRARY_LEVEL)
    )


def get_log_level() -> str:
    """Return the level of the events that are logged now: debug, info, warning or error."""
    level = structlog.get_logger().get_effective_level()  # 0 before set_up_logs: all is logged
    return logging.getLevelName(level or logging.DEBUG).lower()


def count_lost_lines() -> int:
    """Return how many lines could not be written since the start: their reader was not there."""
    writer = _find_writer()
    return writer.lost_lines if writer else 0


def wait_until_logged(timeout_seconds: float) -> None:
    """Wait until every line is written or lost, at most so long."""
    if writer := _find_writer():
        writer.wait_until_written(timeout_seconds)


def _find_writer() -> LogWriter | None:
    factory = structlog.get_config()["logger_factory"]
    stream = factory.stream if isinstance(factory, _StreamLoggerFactory) else None
    return stream if isinstance(stream, LogWriter) else None


class _StreamLoggerFactory:
    """Makes loggers that write each line to one stream, at once."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __call__(self, *_: object) -> structlog.WriteLogger:
        return structlog.WriteLogger(self.stream)


def _open_stream() -> TextIO:
    """Return standard error, so that nobody waits for it; where it is no file, as it is."""
    try:
        descriptor = sys.stderr.fileno()
    except OSError:
        return sys.stderr

    def report(lost: int) -> None:
        structlog.get_logger(__name__).warning("log_lines_lost", lines=lost)

    writer = LogWriter(descriptor, on_recovered=report)
    atexit.register(writer.wait_until_written, _LAST_LINES_SECONDS)
    return writer  # type: ignore[return-value]  # what loggers ask of a stream: write and flush


def _add_trace(_: object, __: str, line: EventDict) -> EventDict:
    """Add the ids of the current trace and span to a line, when there are any."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = trace.format_trace_id(context.trace_id)
        line["span_id"] = trace.format_span_id(context.span_id)
    return line
