"""TermCounts: distinct devices for each (cluster, term), changed a batch at a time.

A key packs four numbers. From the left: 26 bits of device, 16 of cluster, 1 of kind, 21 of term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from constellation.core.rows import TermKind
from constellation.core.table.hash_index import HashIndex

if TYPE_CHECKING:
    from constellation.core.rows import PatternRows
    from constellation.federated.fixed_point import Integers

MAX_CLUSTERS: Final = 2**16
"""Rows of clusters must be below this."""
_TERM_BITS: Final = np.uint64(22)
_DEVICE_SHIFT: Final = np.uint64(38)
_CLUSTER_MASK: Final = np.uint64(MAX_CLUSTERS - 1)
_CONTENT_FLAG: Final = np.uint64(1 << 21)
_NUMBER_MASK: Final = _CONTENT_FLAG - np.uint64(1)
_TERM_OF_CLUSTER_MASK: Final = (np.uint64(1) << _DEVICE_SHIFT) - np.uint64(1)

PackedKeys = NDArray[np.uint64]
"""Shape (n,): one key per element."""


def pack_pairs(devices: Integers, clusters: Integers) -> PackedKeys:
    """Return the keys of (device, cluster) pairs, with 0 in place of a term."""
    shifted: PackedKeys = devices.astype(np.uint64) << _DEVICE_SHIFT
    return shifted | (clusters.astype(np.uint64) << _TERM_BITS)


def unpack_clusters(keys: PackedKeys) -> Integers:
    """Return the cluster of each key."""
    return ((keys >> _TERM_BITS) & _CLUSTER_MASK).astype(np.int64)


def unpack_devices(keys: PackedKeys) -> Integers:
    """Return the device of each key."""
    return (keys >> _DEVICE_SHIFT).astype(np.int64)


def pack_terms(pairs: PackedKeys, rows: PatternRows) -> PackedKeys:
    """Return the distinct keys of (device, cluster, term), ascending.

    `pairs` are the (device, cluster) keys of the patterns in `rows`.
    """
    genres, contents = rows["genres"], rows["contents"]
    by_genre = (pairs[:, None] | genres.astype(np.uint64))[genres > 0]
    by_content = (pairs[:, None] | contents.astype(np.uint64) | _CONTENT_FLAG)[contents > 0]
    return sort_distinct(np.concatenate([by_genre, by_content]))


def sort_distinct(keys: PackedKeys) -> PackedKeys:
    """Return the distinct keys, ascending; for the few keys here faster than np.unique."""
    ordered = np.sort(keys)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def subtract_keys(keys: PackedKeys, others: PackedKeys) -> PackedKeys:
    """Return the keys that are not among `others`; both must be ascending and distinct."""
    if not len(others):
        return keys
    positions = np.minimum(np.searchsorted(others, keys), len(others) - 1)
    missing: PackedKeys = keys[others[positions] != keys]
    return missing


class TermCounts:
    """Distinct devices by (cluster, term). A pair keeps its row when its count falls to zero."""

    def __init__(self) -> None:
        self._positions = HashIndex(width=1)
        self._keys = np.empty(1024, np.uint64)
        self._devices = np.zeros(1024, np.int64)
        self._size = 0

    def add(self, keys: PackedKeys, change: int) -> None:
        """Add `change` to the count of each key's (cluster, term); these may repeat."""
        terms = keys & _TERM_OF_CLUSTER_MASK
        terms, times = np.unique(terms, return_counts=True)
        positions = self._positions.find(terms[:, None])
        absent = positions < 0
        if absent.any():
            positions[absent] = self._append_keys(terms[absent])
        self._devices[positions] += times * change

    def select_kind(self, kind: TermKind) -> tuple[Integers, Integers, Integers]:
        """Return the clusters, term numbers and devices of all nonzero counts of one kind."""
        keys, devices = self._keys[: self._size], self._devices[: self._size]
        is_content = (keys & _CONTENT_FLAG) > 0
        chosen = (devices > 0) & (is_content == (kind is TermKind.CONTENT))
        keys = keys[chosen]
        return unpack_clusters(keys), (keys & _NUMBER_MASK).astype(np.int64), devices[chosen]

    def _append_keys(self, terms: PackedKeys) -> Integers:
        end = self._size + len(terms)
        if end > len(self._keys):
            more = max(end, 2 * len(self._keys)) - len(self._keys)
            self._keys = np.concatenate([self._keys, np.empty(more, np.uint64)])
            self._devices = np.concatenate([self._devices, np.zeros(more, np.int64)])
        positions = np.arange(self._size, end)
        self._keys[positions] = terms
        self._positions.put(terms[:, None], positions)
        self._size = end
        return positions
