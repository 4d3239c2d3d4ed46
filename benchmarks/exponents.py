"""Growth exponents: 0 when a cost stays, 1 when it grows as the size does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.report import Measurement

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINEAR: Final = 1.0


def measure_exponent(name: str, sizes: Sequence[float], costs: Sequence[float]) -> Measurement:
    """Return the slope of a cost over a size, both as logarithms, as a figure of a report.

    Its spread is that of the slopes between neighbouring sizes: a bend is far from the rest.
    """
    slopes = find_slopes(sizes, costs)
    slope = float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
    return Measurement(
        f"{name}_exponent",
        slope,
        "",
        "linear growth",
        _LINEAR,
        slope,
        better="lower",
        runs=len(sizes),
        spread=(min(slopes), max(slopes)),
    )


def find_slopes(sizes: Sequence[float], costs: Sequence[float]) -> list[float]:
    """Return the slope between each size and the next."""
    slopes: list[float] = (np.diff(np.log(costs)) / np.diff(np.log(sizes))).tolist()
    return slopes
