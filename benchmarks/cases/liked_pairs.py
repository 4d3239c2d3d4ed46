"""The pairs of 100,000 contributing devices, counted for a federation: the work of one pull."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.report import Measurement, compare
from constellation.core.aggregates.pair_counts import count_pairs
from constellation.core.rows import MAX_LIKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DEVICES: Final = 100_000
_CONTENTS: Final = 5003
"""A prime, so that every stride below names distinct content items."""
_DICTIONARY: Final = 2000
_BLOCK: Final = 2048


def measure() -> list[Measurement]:
    """Compare the count of full lists with the float32 product of the same 0/1 matrix."""
    contents = _make_contents()
    positions = np.full(_CONTENTS + 1, _DICTIONARY, np.uint16)
    positions[1 : _DICTIONARY + 1] = np.arange(_DICTIONARY)
    started = time.perf_counter()
    pairs = count_pairs(contents, positions, _DICTIONARY)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    product = _multiply(positions[contents])
    theirs = time.perf_counter() - started
    assert int(np.triu(product, 1).sum()) == int(pairs.devices.sum())
    return [compare("liked_pairs_seconds", ours, "s", "float32 product of the matrix", theirs)]


def _make_contents() -> NDArray[np.uint32]:
    random = np.random.default_rng(1)
    first = random.integers(0, _CONTENTS, (_DEVICES, 1))
    stride = random.integers(1, _CONTENTS, (_DEVICES, 1))
    numbers = (first + stride * np.arange(MAX_LIKED)) % _CONTENTS + 1
    return numbers.astype(np.uint32)


def _multiply(lists: NDArray[np.uint16]) -> NDArray[np.float64]:
    total = np.zeros((_DICTIONARY, _DICTIONARY))
    for start in range(0, len(lists), _BLOCK):
        block = lists[start : start + _BLOCK]
        matrix = np.zeros((len(block), _DICTIONARY + 1), np.float32)
        np.put_along_axis(matrix, block.astype(np.int64), 1, axis=1)
        matrix = matrix[:, :_DICTIONARY]
        total += matrix.T @ matrix
    return total
