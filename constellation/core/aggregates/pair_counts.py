"""Counts of pairs: how many devices like both content items, for all pairs of a dictionary."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.table.standing import ORIGIN_NUMBERS
from constellation.federated.likes import PairRows, no_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BLOCK_DEVICES: Final = 2048
"""Devices that are counted at once: a millisecond or two, after which another thread may run."""
_BLOCK_ENTRIES: Final = 2**17
"""Entries of lists that are moved at once, likewise."""
_HASH_BYTES: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class RequiredOrigins:
    """How many origins the devices of a pair, or of a content item, must have."""

    least: int
    origins: NDArray[np.uint8]
    """The origin number of each device."""


def count_pairs(
    contents: NDArray[np.uint32],
    positions: NDArray[np.uint16],
    size: int,
    required: RequiredOrigins | None = None,
) -> PairRows:
    """Return the pairs of a dictionary's content items, and how many devices like both.

    `contents` has a row for each device: the numbers of distinct content items, and zeros. The
    content item of each number is at `positions` in the dictionary, whose size stands for a content
    item that is not in it. Every position of the dictionary gets a row; its versions are 0.

    The matrix is X.T @ X of the devices' content, and sparse: its cost does not depend on the size
    of the dictionary, only on the devices and on the length of their lists. Belongs in a thread.
    With `required`, pairs whose devices are of too few origins are marked.
    """
    if not size:
        return no_pairs()
    lists, order = _find_positions(contents, positions, size)
    keys = _KeyedLists(lists, size)
    if required is not None:
        keys = _KeyedLists(lists, size, required.least, required.origins[order].astype(np.int64))
    rows = list(_count_rows(keys))
    return PairRows(
        np.arange(size),
        np.zeros(size, np.int64),
        np.array([len(columns) for columns, _, _ in rows], np.int64),
        np.concatenate([columns for columns, _, _ in rows]),
        np.concatenate([devices for _, devices, _ in rows]),
        np.concatenate([unsupported for _, _, unsupported in rows]),
    )


def hash_pair_rows(pairs: PairRows) -> NDArray[np.uint64]:
    """Return a hash of each row's columns, devices and marks, shape (n,)."""
    starts = pairs.find_starts().tolist()
    hashes = bytearray()
    unsupported = pairs.mark_unsupported()
    for start, end in pairwise(starts):
        digest = blake2b(pairs.columns[start:end].tobytes(), digest_size=_HASH_BYTES)
        digest.update(pairs.devices[start:end].tobytes())
        digest.update(unsupported[start:end].tobytes())
        hashes += digest.digest()
    return np.frombuffer(hashes, "<u8")


def _find_positions(
    contents: NDArray[np.uint32], positions: NDArray[np.uint16], size: int
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Return each device's positions in the dictionary, ascending, padded with its size.

    Devices with the most positions come first; the second result names the device of each row.
    """
    lists = np.empty(contents.shape, np.uint16)
    for start in range(0, len(lists), _BLOCK_DEVICES):
        block = positions[contents[start : start + _BLOCK_DEVICES]]
        block.sort(axis=1)
        lists[start : start + _BLOCK_DEVICES] = block
    order = np.argsort(-_count_valid(lists, size), kind="stable")
    ordered = np.empty_like(lists)
    for start in range(0, len(lists), _BLOCK_DEVICES):
        ordered[start : start + _BLOCK_DEVICES] = lists[order[start : start + _BLOCK_DEVICES]]
    return ordered, order


def _count_valid(lists: NDArray[np.uint16], size: int) -> NDArray[np.int64]:
    """Return how many positions of the dictionary each list has."""
    return np.asarray((lists < size).sum(axis=1), np.int64)


def _group_devices(
    lists: NDArray[np.uint16], size: int
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the devices of each position, one position after another, and where each ends."""
    lengths = _count_valid(lists, size)
    entries = np.empty(int(lengths.sum()), np.uint16)
    owners = np.empty(len(entries), np.uint32)
    counts = np.zeros(size, np.int64)
    filled = 0
    for start in range(0, len(lists), _BLOCK_DEVICES):
        block = lists[start : start + _BLOCK_DEVICES]
        part = block[block < size]
        devices = np.arange(start, start + len(block), dtype=np.uint32)
        owners[filled : filled + len(part)] = np.repeat(
            devices, lengths[start : start + _BLOCK_DEVICES]
        )
        entries[filled : filled + len(part)] = part
        counts += np.bincount(part, minlength=size)
        filled += len(part)
    order = np.argsort(entries, kind="stable")  # without the interpreter's lock
    grouped = np.empty_like(owners)
    for start in range(0, len(order), _BLOCK_ENTRIES):
        grouped[start : start + _BLOCK_ENTRIES] = owners[order[start : start + _BLOCK_ENTRIES]]
    return grouped, np.cumsum(counts)


@dataclass(frozen=True, slots=True, eq=False)
class _KeyedLists:
    """Each device's positions in the dictionary, and with which origin they count."""

    lists: NDArray[np.uint16]
    size: int
    least_origins: int = 1
    origins: NDArray[np.int64] | None = None
    """None when one origin is enough."""

    def count(
        self, devices: NDArray[np.uint32], width: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return how many devices have each position, and whether they are of each origin.

        Shapes (size + 1,) and (ORIGIN_NUMBERS + 1, size + 1), or (0, 0) when one is enough.
        """
        cells = self.lists[devices, :width]
        places = self.size + 1
        if self.origins is None:
            return np.bincount(cells.ravel(), minlength=places), np.empty((0, 0), np.bool_)
        keys = cells + (self.origins[devices] * places)[:, None]
        counts = np.bincount(keys.ravel(), minlength=(ORIGIN_NUMBERS + 1) * places)
        by_origin = counts.reshape(ORIGIN_NUMBERS + 1, places)
        return by_origin.sum(axis=0), by_origin > 0


def _count_rows(
    keys: _KeyedLists,
) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.uint32], NDArray[np.bool_]]]:
    """Yield for each position the later positions that share devices with it.

    Also yields how many devices these are, and whether they have too few origins.
    """
    size = keys.size
    lengths = _count_valid(keys.lists, size)
    owners, ends = _group_devices(keys.lists, size)
    start = 0
    for row, end in enumerate(ends.tolist()):
        counts, present = np.zeros(size + 1, np.int64), np.empty((0, 0), np.bool_)
        for first in range(start, end, _BLOCK_DEVICES):
            block = owners[first : min(first + _BLOCK_DEVICES, end)]
            width = int(lengths[block[0]])  # the longest list of the block
            more, present_here = keys.count(block, width)
            counts += more
            present = present | present_here if len(present) else present_here
        columns = np.flatnonzero(counts[row + 1 : size]) + row + 1
        unsupported = np.zeros(len(columns), np.bool_)
        if keys.origins is not None and len(columns):
            unsupported = np.count_nonzero(present[1:, columns], axis=0) < keys.least_origins
        yield columns.astype(np.uint16), counts[columns].astype(np.uint32), unsupported
        start = end
