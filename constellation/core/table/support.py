"""Support: which counted devices have a pattern that names a content item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.distinct import find_distinct
from constellation.core.rows import reserve
from constellation.core.table.standing import ORIGIN_NUMBERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONTENT_BITS: Final = np.uint64(32)
_CONTENT_MASK: Final = np.uint64(2**32 - 1)


def pack_support(owners: NDArray[np.integer], contents: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return the distinct (owner, content number) pairs of patterns, ascending.

    `owners` has shape (n,), `contents` has shape (n, MAX_CONTENTS), and 0 in it means none. A
    device supports a content item once, even when several of its patterns name it.
    """
    pairs = (owners.astype(np.uint64) << _CONTENT_BITS)[:, None] | contents.astype(np.uint64)
    return find_distinct(pairs[contents > 0])


@dataclass(frozen=True, slots=True, eq=False)
class Supports:
    """Content items, each supported by a device of some origin, column by column."""

    contents: NDArray[np.int64]
    """Shape (n,): content numbers."""
    origins: NDArray[np.uint8]
    """Shape (n,): the origin number with which the supporting device counts."""

    @classmethod
    def unpack(cls, pairs: NDArray[np.uint64], origins: NDArray[np.uint8]) -> Supports:
        """Return the supports of packed pairs, whose owners are positions in `origins`.

        Those of owners that do not count, whose origin number is 0, are left out.
        """
        found = origins[(pairs >> _CONTENT_BITS).astype(np.int64)]
        is_counted = found > 0
        return cls((pairs[is_counted] & _CONTENT_MASK).astype(np.int64), found[is_counted])


def no_supports() -> Supports:
    return Supports(np.empty(0, np.int64), np.empty(0, np.uint8))


class SupportCounts:
    """By content number: how many counted devices support it, in all and by their origin."""

    def __init__(self, contents: int) -> None:
        self.devices: NDArray[np.uint32] = reserve(contents, np.dtype("<u4"))
        """By content number: distinct devices."""
        self._by_origin: NDArray[np.uint32] = reserve(
            contents * ORIGIN_NUMBERS, np.dtype("<u4")
        ).reshape(-1, ORIGIN_NUMBERS)

    def add(self, supports: Supports) -> None:
        """Count further supports."""
        np.add.at(self.devices, supports.contents, np.uint32(1))
        np.add.at(self._by_origin.reshape(-1), _find_cells(supports), np.uint32(1))

    def remove(self, supports: Supports) -> None:
        """Take back supports that were counted."""
        np.subtract.at(self.devices, supports.contents, np.uint32(1))
        np.subtract.at(self._by_origin.reshape(-1), _find_cells(supports), np.uint32(1))

    def count_origins(self, contents: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return how many origin numbers the supporting devices of each content item have."""
        counts: NDArray[np.int64] = np.count_nonzero(self._by_origin[contents], axis=-1)
        return counts


def _find_cells(supports: Supports) -> NDArray[np.int64]:
    """Return the positions in the flat counts by origin: one index is faster than two."""
    cells: NDArray[np.int64] = supports.contents * ORIGIN_NUMBERS + (supports.origins - 1)
    return cells
