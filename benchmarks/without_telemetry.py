"""The `constellation` command with its telemetry cut out: `python -m benchmarks.untold serve`.

What counts, times and traces does nothing here; `benchmarks.telemetry` compares.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import INVALID_SPAN

from constellation.__main__ import command
from constellation.core.ingest import spans as tracing
from constellation.core.ingest.stats import Stats
from constellation.histogram import Histogram
from constellation.transport.calls.counters import Calls

if TYPE_CHECKING:
    from collections.abc import Iterator

_SILENT: Final[tuple[tuple[Any, str], ...]] = (
    (Histogram, "observe"),
    (Stats, "record"),
    (Stats, "acked"),
    (Stats, "count"),
    (tracing, "tell_deltas"),
)


class _Untraced:
    """A tracer that makes nothing, with less effort than OpenTelemetry's."""

    @contextmanager
    def start_as_current_span(self, *_: object, **__: object) -> Iterator[object]:
        yield INVALID_SPAN


def _cut_out() -> None:
    for owner, name in _SILENT:
        setattr(owner, name, lambda *_: None)
    untold: dict[str, Any] = {
        "links_of": lambda _: [],
        "current": lambda: None,
        "TRACER": _Untraced(),
    }
    for name, instead in untold.items():
        setattr(tracing, name, instead)
    calls: Any = Calls
    calls.counted = lambda _, __, ___, behaviour: behaviour


if __name__ == "__main__":
    _cut_out()
    command()
