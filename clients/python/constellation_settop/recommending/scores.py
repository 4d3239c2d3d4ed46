"""Scores: how strongly one source recommends each content item, in integers.

Integers give the same bits in any order of summation and in any language; see docs/ranking.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

PEAK: Final = 32_767
"""The score that a source gives the content item that it recommends most."""
_MAX_BITS: Final = 47
"""Bits of a sum that can be multiplied by PEAK within int64."""
_LOG_CAP: Final = 255

Scores = NDArray[np.int64]
"""Shape (contents,): from -PEAK to PEAK for each row of the catalogue."""

LOG_TABLE: Final = np.rint(256 * np.log2(1 + np.arange(_LOG_CAP + 1))).astype(np.int64)
"""By a count, which is cut to 255: the logarithm to base 2 of one more, in units of 1/256."""


def scale_to_peak(sums: NDArray[np.int64]) -> Scores:
    """Return sums so that the largest one becomes PEAK, rounded down; zeros if none is positive.

    What is less than -PEAK then is cut to it.
    """
    peak = int(sums.max(initial=0))
    if peak <= 0:
        return np.zeros(len(sums), np.int64)
    surplus_bits = max(0, peak.bit_length() - _MAX_BITS)
    floor = -(peak >> surplus_bits)
    scaled: Scores = np.maximum(sums >> surplus_bits, floor) * PEAK // (peak >> surplus_bits)
    return scaled


def look_up_log(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return log2(1 + count) in units of 1/256; counts above 255 count as 255."""
    logs: NDArray[np.int64] = LOG_TABLE[np.minimum(counts, _LOG_CAP)]
    return logs


def to_rate(rates: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return rates from 0 to 1 in units of 1/4096, rounded half to even."""
    return np.rint(np.clip(rates, 0, 1) * 4096).astype(np.int64)


def compute_nearness(
    cosines: NDArray[np.int16], weights: NDArray[np.int64], row_count: int
) -> Scores:
    """Return how near each content item is to the nearest of n weighted patterns.

    Args:
        cosines: shape (n, contents), in units of 1/32767.
        weights: shape (n,), from 0 to PEAK.
        row_count: the number of content items.
    """
    nearest, weighted = np.zeros(row_count, np.int32), np.empty(row_count, np.int32)
    for row, weight in zip(cosines, weights, strict=True):
        np.multiply(row, np.int32(weight), out=weighted)
        np.maximum(nearest, weighted, out=nearest)
    return scale_to_peak(nearest.astype(np.int64))
