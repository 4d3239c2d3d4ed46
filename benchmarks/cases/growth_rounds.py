"""How the seconds of a federation's round grow with the number of its shards, from 3 to 100."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.exponents import measure_exponent
from benchmarks.report import compare
from benchmarks.round_runs import run_two_rounds
from constellation.telemetry.logs import set_up_logs

if TYPE_CHECKING:
    from benchmarks.report import Measurement

_SIZES: Final = (3, 10, 30, 100)
"""From 3 on, because a federation publishes nothing of fewer."""


def measure() -> list[Measurement]:
    """Run a round that pulls everything and the next one, over each number of shards."""
    set_up_logs("warning")
    pairs = [run_two_rounds(size) for size in _SIZES]
    lines = []
    for position, name in enumerate(("growth_round_seconds", "growth_next_round_seconds")):
        values = [pair[position].seconds for pair in pairs]
        lines += [
            compare(f"{name}_{size}", value, "s", "with 3 shards", values[0])
            for size, value in zip(_SIZES, values, strict=True)
        ]
        lines.append(measure_exponent(name, _SIZES, values))
    return lines
