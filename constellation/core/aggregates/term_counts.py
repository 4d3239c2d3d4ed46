"""WordTally: distinct devices for each (cluster, genre or content), changed a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from constellation.core.rows import WordKind
from constellation.core.table.hash_index import Directory

if TYPE_CHECKING:
    from constellation.core.rows import PatternRows
    from constellation.federated.fixed_point import Integers

# A key is, from the left, 26 bits of device, 16 of cluster, 1 of kind and 21 of word.
WORD_BITS: Final = 22
DEVICE_SHIFT: Final = 38
MAX_DEVICES: Final = 2**26
MAX_CLUSTERS: Final = 2**16
_CONTENT: Final = np.uint64(1 << 21)
_NUMBER: Final = (1 << 21) - 1

Keys = NDArray[np.uint64]
"""Shape (n,)."""


def pair_keys(devices: Integers, clusters: Integers) -> Keys:
    """Return the keys of (device, cluster) pairs."""
    shifted: Keys = devices.astype(np.uint64) << np.uint64(DEVICE_SHIFT)
    return shifted | (clusters.astype(np.uint64) << np.uint64(WORD_BITS))


def word_keys(pairs: Keys, rows: PatternRows) -> Keys:
    """Return the distinct keys of (device, cluster, word) for patterns and their pairs."""
    genres, contents = rows["genres"], rows["contents"]
    by_genre = (pairs[:, None] | genres.astype(np.uint64))[genres > 0]
    by_content = (pairs[:, None] | contents.astype(np.uint64) | _CONTENT)[contents > 0]
    return distinct(np.concatenate([by_genre, by_content]))


def distinct(keys: Keys) -> Keys:
    """Return the keys, ascending, each once; np.unique takes longer for this few."""
    ordered = np.sort(keys)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def without(keys: Keys, others: Keys) -> Keys:
    """Return keys that are not among others; both ascending and distinct."""
    if not len(others):
        return keys
    place = np.minimum(np.searchsorted(others, keys), len(others) - 1)
    missing: Keys = keys[others[place] != keys]
    return missing


class WordTally:
    """Counts by (cluster, word). What was counted once keeps its place, also at zero."""

    def __init__(self) -> None:
        self._places = Directory(width=1)
        self._keys = np.empty(1024, np.uint64)
        self._devices = np.zeros(1024, np.int64)
        self._used = 0

    def add(self, keys: Keys, change: int) -> None:
        """Add `change` devices for each key; keys come with their device, and may repeat."""
        words = keys & np.uint64((1 << DEVICE_SHIFT) - 1)
        words, times = np.unique(words, return_counts=True)
        places = self._places.find(words[:, None])
        absent = places < 0
        if absent.any():
            places[absent] = self._make(words[absent])
        self._devices[places] += times * change

    def of_kind(self, kind: WordKind) -> tuple[Integers, Integers, Integers]:
        """Return clusters, numbers of words, and devices of every count that is not zero."""
        keys, devices = self._keys[: self._used], self._devices[: self._used]
        is_content = (keys & _CONTENT) > 0
        chosen = (devices > 0) & (is_content == (kind is WordKind.CONTENT))
        keys = keys[chosen]
        clusters = (keys >> np.uint64(WORD_BITS)).astype(np.int64)
        return clusters, (keys & np.uint64(_NUMBER)).astype(np.int64), devices[chosen]

    def _make(self, words: Keys) -> Integers:
        end = self._used + len(words)
        if end > len(self._keys):
            more = max(end, 2 * len(self._keys)) - len(self._keys)
            self._keys = np.concatenate([self._keys, np.empty(more, np.uint64)])
            self._devices = np.concatenate([self._devices, np.zeros(more, np.int64)])
        places = np.arange(self._used, end)
        self._keys[places] = words
        self._places.put(words[:, None], places)
        self._used = end
        return places
