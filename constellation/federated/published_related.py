"""Related and popular content that a round published, as a shard serves it to devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.likes import DictionaryKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """The content items whose pairs shards count."""

    key: DictionaryKey
    content_ids: Sequence[str]
    """Distinct; pairs name them by their positions."""


@dataclass(frozen=True, slots=True, eq=False)
class PublishedRelated:
    """Rows of related content, column by column."""

    ids: NDArray[np.uint64]
    """Shape (n, 2), big-endian: a hash of the row's content id, then what names its revision."""
    content_ids: Sequence[str]
    """Distinct."""
    contents: NDArray[np.int64]
    """Shape (n,), distinct: the content item of each row, as an index into `content_ids`."""
    lengths: NDArray[np.int64]
    """Shape (n,): the neighbours of each row."""
    neighbours: NDArray[np.int64]
    """Shape (m,): indexes into `content_ids`, row by row."""
    weights: NDArray[np.int8]
    """Shape (m,): the weights of the neighbours, in units of 2**-shift of their row."""
    shifts: NDArray[np.uint8]
    """Shape (n,)."""

    def __len__(self) -> int:
        return len(self.contents)

    def select(self, positions: NDArray[np.int64]) -> PublishedRelated:
        """Return the rows at some positions, with only the content ids that they name."""
        lengths = self.lengths[positions]
        starts = (np.cumsum(self.lengths) - self.lengths)[positions]
        ends = np.cumsum(lengths)
        cells = np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
        named = np.concatenate([self.contents[positions], self.neighbours[cells]])
        distinct, indexes = np.unique(named, return_inverse=True)
        return PublishedRelated(
            self.ids[positions],
            [self.content_ids[number] for number in distinct.tolist()],
            indexes[: len(positions)],
            lengths,
            indexes[len(positions) :],
            self.weights[cells],
            self.shifts[positions],
        )


@dataclass(frozen=True, slots=True, eq=False)
class PopularList:
    """The content items that most households of a region like."""

    list_id: bytes
    """16 bytes; names one revision of this list."""
    region: str
    """Empty for all regions together."""
    content_ids: Sequence[str]
    """Those with the most households first."""
    households: Sequence[int]
    key_id: str = ""
    """The federation's key that signed the list, for devices that pin it; empty for none."""
    signature: bytes = b""


def pack_row_ids(ids: NDArray[np.uint64]) -> bytes:
    """Return ids of rows as the bytes that devices hold, 16 each."""
    return ids.astype(">u8").tobytes()


def unpack_row_ids(ids: bytes) -> NDArray[np.uint64]:
    """Return ids of rows from their bytes, shape (n, 2)."""
    return np.frombuffer(ids, ">u8").astype(np.uint64).reshape(-1, 2)


def no_related() -> PublishedRelated:
    empty = np.empty(0, np.int64)
    return PublishedRelated(
        np.empty((0, 2), np.uint64),
        (),
        empty,
        empty,
        empty,
        empty.astype(np.int8),
        empty.astype(np.uint8),
    )


def no_dictionary() -> Dictionary:
    return Dictionary(DictionaryKey(), ())
