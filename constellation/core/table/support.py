"""Support: which devices have a pattern that names a content item, as packed pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

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
    return np.unique(pairs[contents > 0])


def unpack_contents(pairs: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the content number of each pair."""
    return (pairs & _CONTENT_MASK).astype(np.int64)
