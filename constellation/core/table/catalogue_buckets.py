"""Buckets of the catalogue: by comparing their digests, a copy learns what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MAX_BUCKETS: Final = 16_384
_KEY_BYTES: Final = 4
_BUCKET_SIZE: Final = 8
"""Content items that a bucket has on average, at most, where the number of buckets allows it."""
_OUTGROWN_SIZE: Final = 64
"""A copy whose buckets have more content items than this on average gets a new number of buckets:
it would receive too many for one that changed."""


def compute_key(content_id: str) -> int:
    """Return what decides the bucket of a content item: the first 4 bytes of its SHA-256."""
    return int.from_bytes(sha256(content_id.encode()).digest()[:_KEY_BYTES], "big")


def choose_bucket_count(content_count: int, present: int = 0) -> int:
    """Return a power of two of buckets for a catalogue of this size.

    `present` is the number that a copy has, which stays unless the catalogue has outgrown it; 0 for
    a copy that has none.
    """
    if present and (present == MAX_BUCKETS or content_count <= _OUTGROWN_SIZE * present):
        return present
    needed = max(1, -(-content_count // _BUCKET_SIZE))
    return min(MAX_BUCKETS, 1 << (needed - 1).bit_length())


@dataclass(frozen=True, slots=True, eq=False)
class CatalogueEntries:
    """The content items of a catalogue at one moment, column by column, without their values."""

    numbers: NDArray[np.uint32]
    """Shape (n,): content numbers of the vocabulary; 0 for the last ones, those of `unnumbered`."""
    unnumbered: Sequence[str]
    keys: NDArray[np.uint32]
    """Shape (n,): what decides the bucket of each."""
    digests: NDArray[np.uint64]
    """Shape (n,): the hash of each."""

    def __len__(self) -> int:
        return len(self.digests)

    def sum_buckets(self, count: int) -> NDArray[np.uint64]:
        """Return the digest of each of `count` buckets, a power of two."""
        sums = np.zeros(count, np.uint64)
        np.add.at(sums, self.keys & np.uint32(count - 1), self.digests)
        return sums

    def find_different(self, held: NDArray[np.uint64]) -> BucketList:
        """Return the buckets whose digest is not the held one, ascending, with their entries."""
        count = len(held)
        different = np.flatnonzero(self.sum_buckets(count) != held)
        buckets = self.keys & np.uint32(count - 1)
        is_different = np.zeros(count, np.bool_)
        is_different[different] = True
        chosen = np.flatnonzero(is_different[buckets])
        chosen = chosen[np.argsort(buckets[chosen], kind="stable")]
        ends = np.searchsorted(buckets[chosen], different, side="right")
        return BucketList(different, ends, chosen.astype(np.uint32))


@dataclass(frozen=True, slots=True, eq=False)
class BucketList:
    """Some buckets of a catalogue, with the positions of their entries."""

    buckets: NDArray[np.int64]
    """Shape (b,), ascending; one that became empty has no entries."""
    ends: NDArray[np.int64]
    """Shape (b,): where the entries of each bucket end."""
    positions: NDArray[np.uint32]
    """Shape (m,): the positions of the entries, bucket by bucket."""

    def cut_pages(self, size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint32]]]:
        """Yield whole buckets, and the positions of their entries: about `size` in a page."""
        first = start = 0
        while first < len(self.buckets):
            last = int(np.searchsorted(self.ends, start + size, side="right"))
            last = min(max(last, first + 1), first + size)  # empty buckets have a bound as well
            yield self.buckets[first:last], self.positions[start : self.ends[last - 1]]
            first, start = last, int(self.ends[last - 1])
