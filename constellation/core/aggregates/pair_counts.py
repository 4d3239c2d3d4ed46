"""Counts of pairs: how many devices like both content items, for all pairs of a dictionary."""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.likes import PairRows, no_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BLOCK_DEVICES: Final = 4096
"""Devices that are counted at once: 2 ms, after which another thread may run."""
_HASH_BYTES: Final = 8


def count_pairs(contents: NDArray[np.uint32], positions: NDArray[np.uint16], size: int) -> PairRows:
    """Return the pairs of a dictionary's content items, and how many devices like both.

    `contents` has a row for each device: the numbers of distinct content items, and zeros. The
    content item of each number is at `positions` in the dictionary, whose size stands for a content
    item that is not in it. Every position of the dictionary gets a row; its versions are 0.

    The matrix is X.T @ X of the devices' content, and sparse: its cost does not depend on the size
    of the dictionary, only on the devices and on the length of their lists. Belongs in a thread.
    """
    if not size:
        return no_pairs()
    lists = _find_positions(contents, positions, size)
    rows = list(_count_rows(lists, size))
    return PairRows(
        np.arange(size),
        np.zeros(size, np.int64),
        np.array([len(columns) for columns, _ in rows], np.int64),
        np.concatenate([columns for columns, _ in rows]),
        np.concatenate([devices for _, devices in rows]),
    )


def hash_pair_rows(pairs: PairRows) -> NDArray[np.uint64]:
    """Return a hash of each row's columns and devices, shape (n,)."""
    starts = pairs.find_starts().tolist()
    hashes = bytearray()
    for start, end in pairwise(starts):
        digest = blake2b(pairs.columns[start:end].tobytes(), digest_size=_HASH_BYTES)
        digest.update(pairs.devices[start:end].tobytes())
        hashes += digest.digest()
    return np.frombuffer(hashes, "<u8")


def _find_positions(
    contents: NDArray[np.uint32], positions: NDArray[np.uint16], size: int
) -> NDArray[np.uint16]:
    """Return each device's positions in the dictionary, ascending, padded with its size.

    Devices with the most come first.
    """
    lists = np.empty(contents.shape, np.uint16)
    for start in range(0, len(lists), _BLOCK_DEVICES):
        block = positions[contents[start : start + _BLOCK_DEVICES]]
        block.sort(axis=1)
        lists[start : start + _BLOCK_DEVICES] = block
    lengths = (lists < size).sum(axis=1)
    ordered: NDArray[np.uint16] = lists[np.argsort(-lengths, kind="stable")]
    return ordered


def _count_rows(
    lists: NDArray[np.uint16], size: int
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.uint32]]]:
    """Yield for each position the later positions that share devices with it, and how many."""
    lengths = (lists < size).sum(axis=1)
    owners = np.repeat(np.arange(len(lists), dtype=np.uint32), lengths)
    entries = lists[lists < size]
    owners = owners[np.argsort(entries, kind="stable")]
    ends = np.cumsum(np.bincount(entries, minlength=size)).tolist()
    start = 0
    for row, end in enumerate(ends):
        counts = np.zeros(size + 1, np.int64)
        for first in range(start, end, _BLOCK_DEVICES):
            block = owners[first : min(first + _BLOCK_DEVICES, end)]
            width = int(lengths[block[0]])  # the longest list of the block
            counts += np.bincount(lists[block, :width].ravel(), minlength=size + 1)
        columns = np.flatnonzero(counts[row + 1 : size]) + row + 1
        yield columns.astype(np.uint16), counts[columns].astype(np.uint32)
        start = end
