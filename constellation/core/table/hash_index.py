"""HashIndex: finds the rows of keys, for millions of keys and a batch at a time."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from constellation.core.distinct import find_distinct

if TYPE_CHECKING:
    from collections.abc import Sequence

Keys = NDArray[np.uint64]
"""Shape (n, width): one key per row."""

_EMPTY: Final = -1
_TOMBSTONE: Final = -2
_WINDOW: Final = 8
"""Positions probed together: one round finds nearly every key."""
_OFFSETS: Final = np.arange(_WINDOW)
_MIX_FACTOR_1: Final = 0xBF58476D1CE4E5B9
_MIX_FACTOR_2: Final = 0x94D049BB133111EB
_MASK: Final = 2**64 - 1


class HashIndex:
    """An open-addressing hash table in two arrays, without a Python object per key.

    A position takes 8 bytes plus 8 for each number of a key. Every method takes a batch, and costs
    some tens of microseconds plus some tens of nanoseconds per key. Each process uses a random hash
    key, so that nobody can choose ids that collide.
    """

    def __init__(self, width: int, capacity: int = 1024) -> None:
        self._seed = np.uint64(secrets.randbits(64))
        self._keys = np.zeros((capacity, width), np.uint64)
        self._rows = np.full(capacity, _EMPTY, np.int64)
        self._occupied = 0  # positions with a row or a tombstone
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """The bytes of memory in use."""
        return self._keys.nbytes + self._rows.nbytes

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Return the row of each key, shape (n,); -1 for an absent key. Keys may repeat."""
        if not len(keys):
            return np.empty(0, np.int64)
        _, found = self._probe(keys)
        return found

    def find_one(self, *key: int) -> int:
        """Return the row of one key, -1 when it is absent: a tenth of the cost of `find`."""
        keys, rows, wanted = self._keys, self._rows, list(key)
        mask = len(rows) - 1
        position = self._hash_one(key) & mask
        while (row := rows.item(position)) != _EMPTY:
            if row >= 0 and keys[position].tolist() == wanted:
                return row
            position = (position + 1) & mask
        return -1

    def put(self, keys: Keys, rows: NDArray[np.int64]) -> None:
        """Add keys, which must be distinct and absent; rows must be distinct and not negative."""
        if self.is_crowded(len(keys)):
            self.grow(len(keys))
        starts = self._hash_keys(keys)
        waiting = np.arange(len(keys))
        while len(waiting):
            window = self._window(starts[waiting])
            free = self._rows[window] < 0
            claimed = window[np.arange(len(window)), free.argmax(axis=1)]
            found = free.any(axis=1)
            self._occupied += self._claim(waiting[found], claimed[found], keys, rows)
            done = found & (self._rows[claimed] == rows[waiting])
            full = waiting[~found]
            starts[full] += _WINDOW
            waiting = waiting[~done]
        self._count += len(keys)

    def remove(self, keys: Keys) -> None:
        """Remove keys, which must be distinct and present."""
        positions, _ = self._probe(keys)
        self._rows[positions] = _TOMBSTONE
        self._count -= len(keys)

    def is_crowded(self, more: int) -> bool:
        """Return whether `more` keys need a larger table: over 60 % would be in use."""
        return (self._occupied + more) * 5 > len(self._rows) * 3

    def grow(self, more: int) -> None:
        """Move to a table with room for `more` keys and without tombstones.

        May run in a thread beside `find`: the new table replaces the old one at the end.
        """
        kept = self._rows >= 0
        capacity = len(self._rows)
        while (self._count + more) * 5 > capacity * 2:
            capacity *= 2
        moved = HashIndex(self._keys.shape[1], capacity)
        moved._seed = self._seed
        moved.put(self._keys[kept], self._rows[kept])
        self._keys, self._rows = moved._keys, moved._rows
        self._occupied = moved._occupied

    def _claim(
        self,
        claims: NDArray[np.int64],
        positions: NDArray[np.int64],
        keys: Keys,
        rows: NDArray[np.int64],
    ) -> int:
        """Write one key into each free position; return how many of them were empty.

        When several keys claim one position, one of them gets it; the others must try again.
        """
        empty = positions[self._rows[positions] == _EMPTY]
        self._rows[positions] = rows[claims]  # the last of several claims stays
        won = self._rows[positions] == rows[claims]
        self._keys[positions[won]] = keys[claims[won]]
        return len(find_distinct(empty))

    def _probe(self, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the position and the row of each key; the row of an absent key is -1."""
        positions = self._hash_keys(keys)
        found = np.full(len(keys), -1, np.int64)
        waiting = np.arange(len(keys))
        while len(waiting):
            window = self._window(positions[waiting])
            rows = self._rows[window]
            hits = (rows >= 0) & (self._keys[window] == keys[waiting, None]).all(axis=2)
            which = hits.argmax(axis=1)
            hit = hits.any(axis=1)
            numbers = np.arange(len(window))
            found[waiting[hit]] = rows[numbers, which][hit]
            positions[waiting[hit]] = window[numbers, which][hit]
            waiting = waiting[~hit & (rows != _EMPTY).all(axis=1)]  # an empty position ends it
            positions[waiting] += _WINDOW
        return positions, found

    def _window(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions that are probed together, shape (n, _WINDOW)."""
        return (starts[:, None] + _OFFSETS) & (len(self._rows) - 1)

    def _hash_one(self, key: Sequence[int]) -> int:
        """Return what `_hash_keys` computes for one key, before it is cut to the table's size."""
        mixed = int(self._seed)
        for part in key:
            mixed ^= part
            mixed ^= mixed >> 30
            mixed = mixed * _MIX_FACTOR_1 & _MASK
            mixed ^= mixed >> 27
            mixed = mixed * _MIX_FACTOR_2 & _MASK
        return mixed ^ (mixed >> 31)

    def _hash_keys(self, keys: Keys) -> NDArray[np.int64]:
        mixed = np.full(len(keys), self._seed)
        for column in keys.T:
            mixed ^= column
            mixed ^= mixed >> np.uint64(30)
            mixed *= np.uint64(_MIX_FACTOR_1)
            mixed ^= mixed >> np.uint64(27)
            mixed *= np.uint64(_MIX_FACTOR_2)
        mixed ^= mixed >> np.uint64(31)
        return (mixed & np.uint64(len(self._rows) - 1)).astype(np.int64)
