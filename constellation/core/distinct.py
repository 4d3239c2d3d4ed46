"""Distinct numbers of an array, by sorting."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T", bound=np.integer)


def find_distinct(numbers: NDArray[T]) -> NDArray[T]:
    """Return the distinct numbers of an array of one dimension, ascending.

    The same as `numpy.unique`, which since numpy 2.3 takes 3 times as long for a hundred numbers
    and a hundred times as long for a million, because it hashes them.
    """
    ordered = np.sort(numbers)
    is_first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]
