"""The `constellation` command without telemetry, for comparison in `benchmarks.telemetry`.

`python -m benchmarks.without_telemetry serve` runs a shard whose counters, timers and traces do
nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import INVALID_SPAN

from constellation.__main__ import run_as_program
from constellation.core.ingest import spans
from constellation.core.ingest.stats import Stats
from constellation.histogram import Histogram
from constellation.transport.calls.counters import CallStats

if TYPE_CHECKING:
    from collections.abc import Iterator

_SILENCED: Final[tuple[tuple[Any, str], ...]] = (
    (Histogram, "observe"),
    (Stats, "record_durable"),
    (Stats, "record_acked"),
    (Stats, "count_receipts"),
    (spans, "record_delta_spans"),
)


class _NoopTracer:
    """A tracer that makes no spans, and costs less than that of OpenTelemetry."""

    @contextmanager
    def start_as_current_span(self, *_: object, **__: object) -> Iterator[object]:
        yield INVALID_SPAN


def _disable_telemetry() -> None:
    for owner, name in _SILENCED:
        setattr(owner, name, lambda *_: None)
    replacements: dict[str, Any] = {
        "build_links": lambda _: [],
        "get_sampled_trace": lambda: None,
        "TRACER": _NoopTracer(),
    }
    for name, replacement in replacements.items():
        setattr(spans, name, replacement)
    calls: Any = CallStats
    calls.count_calls = lambda _, __, ___, behaviour: behaviour


if __name__ == "__main__":
    _disable_telemetry()
    run_as_program()
