"""The `constellation` command without telemetry: `python -m benchmarks.without_telemetry serve`.

What counts and times does nothing here, and without an endpoint nothing is traced;
`benchmarks.cases.telemetry` compares.
"""

from __future__ import annotations

from typing import Any, Final

from constellation.__main__ import run_as_program
from constellation.core.ingest.stats import Stats
from constellation.histogram import Histogram
from constellation.transport.calls.counters import CallStats

_SILENCED: Final[tuple[tuple[Any, str], ...]] = (
    (Histogram, "observe"),
    (Stats, "record_durable"),
    (Stats, "record_acked"),
    (Stats, "count_receipts"),
)


def _disable_telemetry() -> None:
    for owner, name in _SILENCED:
        setattr(owner, name, lambda *_: None)
    calls: Any = CallStats
    calls.count_calls = lambda _, __, ___, behaviour: behaviour


if __name__ == "__main__":
    _disable_telemetry()
    run_as_program()
