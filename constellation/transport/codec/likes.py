"""Counts of liked content as chunks of at most 1 MiB, and back, for shards and for federations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.errors import InvalidInputError
from constellation.federated.likes import (
    MAX_DICTIONARY,
    DictionaryKey,
    LikeCounts,
    PairRows,
    join_pairs,
)
from constellation.v1 import aggregates_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from constellation.federated.likes import LikeAggregate

_CHUNK_BYTES: Final = 900_000
"""Bytes of one chunk; the largest row of pairs fits 12 times into it."""
_LIKE_BYTES: Final = 9
"""The most bytes of one row of likes besides its content id."""
_ROW_BYTES: Final = 20
"""The most bytes of one row of pairs besides its pairs."""
_PAIR_BYTES: Final = 9
"""The most bytes of one pair: its column, its devices and a bit."""
_VALUE_LIMIT: Final = 2**62
"""Versions must be below this."""


def fill_header(header: pb.AggregateHeader, likes: LikeAggregate) -> None:
    """Set the fields of a header that describe likes and pairs."""
    header.like_count = len(likes.likes.content_ids)
    header.pair_row_count = len(likes.pairs)
    header.contributors = likes.contributors
    header.dictionary_generation = likes.dictionary.generation
    header.dictionary_version = likes.dictionary.version
    header.dictionary_effective_version = likes.dictionary_effective_version
    header.liked_limit = likes.liked_limit


def to_dictionary_key(header: pb.AggregateHeader) -> DictionaryKey:
    """Return which dictionary the pairs of an answer are based on.

    Raises InvalidInputError for impossible versions.
    """
    if header.dictionary_effective_version >= _VALUE_LIMIT:
        raise InvalidInputError(
            "header.dictionary_effective_version",
            f"must be below 2**62, got {header.dictionary_effective_version}",
        )
    return DictionaryKey(header.dictionary_generation, header.dictionary_version)


def encode_likes(likes: LikeCounts) -> Iterator[pb.LikeColumns]:
    """Yield chunks of the rows."""
    sizes = [len(each.encode()) + _LIKE_BYTES for each in likes.content_ids]
    for start, end in _cut(np.array(sizes, np.int64)):
        yield pb.LikeColumns(
            content_ids=likes.content_ids[start:end],
            devices=likes.devices[start:end].tolist(),
            unsupported=_to_bits(likes.unsupported[start:end]),
        )


def encode_pairs(pairs: PairRows) -> Iterator[pb.PairColumns]:
    """Yield chunks of whole rows."""
    starts = pairs.find_starts()
    for first, last in _cut(_ROW_BYTES + pairs.lengths * _PAIR_BYTES):
        cells = slice(starts[first], starts[last])
        yield pb.PairColumns(
            rows=pairs.rows[first:last].tolist(),
            versions=pairs.versions[first:last].tolist(),
            lengths=pairs.lengths[first:last].tolist(),
            columns=pairs.columns[cells].astype("<u4").tobytes(),
            devices=pairs.devices[cells].astype("<u4", copy=False).tobytes(),
            unsupported=_to_bits(pairs.unsupported[cells]),
        )


def to_like_counts(columns: pb.LikeColumns) -> LikeCounts:
    """Return how many devices like each content item. Checks all but the texts.

    Raises InvalidInputError, naming the column.
    """
    if len(columns.devices) != len(columns.content_ids):
        raise InvalidInputError(
            "likes.devices",
            f"must have {len(columns.content_ids)} entries, got {len(columns.devices)}",
        )
    if len(set(columns.content_ids)) != len(columns.content_ids):
        raise InvalidInputError("likes.content_ids", "must be distinct")
    unsupported = _from_bits(columns.unsupported, len(columns.devices), "likes.unsupported")
    return LikeCounts(columns.content_ids, np.array(columns.devices, np.uint32), unsupported)


def to_pair_rows(columns: pb.PairColumns) -> PairRows:
    """Return the pairs of a message, its rows in ascending order.

    Raises InvalidInputError, naming the column, unless every row is one that a shard can send.
    """
    rows = _to_positions(np.array(columns.rows, np.int64), "pairs.rows")
    versions = _to_integers(columns.versions, len(rows), "pairs.versions", _VALUE_LIMIT)
    lengths = _to_integers(columns.lengths, len(rows), "pairs.lengths", MAX_DICTIONARY)
    found = _to_positions(_to_uint32s(columns.columns, "pairs.columns"), "pairs.columns")
    devices = _to_uint32s(columns.devices, "pairs.devices")
    if not lengths.sum() == len(found) == len(devices):
        raise InvalidInputError(
            "pairs",
            f"must have {lengths.sum()} columns and devices, got {len(found)}, {len(devices)}",
        )
    if len(np.unique(rows)) != len(rows):
        raise InvalidInputError("pairs.rows", "must be distinct")
    owners = np.repeat(rows, lengths)
    # Each column is compared with the one before it, and the first of a row with the row itself.
    before = np.concatenate([owners[:1], found[:-1].astype(np.int64)])
    is_first = np.diff(owners, prepend=-1) != 0
    before[is_first] = owners[is_first]
    if (found <= before).any():
        raise InvalidInputError("pairs.columns", "must be ascending and after their row")
    if not devices.all():
        raise InvalidInputError("pairs.devices", "must be at least 1")
    unsupported = _from_bits(columns.unsupported, len(found), "pairs.unsupported")
    pairs = PairRows(rows, versions, lengths, found.astype(np.uint16), devices, unsupported)
    return join_pairs([pairs])


def _cut(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the row after the last one of each chunk."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + _CHUNK_BYTES, side="right")))
        yield start, end
        start = end


def _to_bits(values: NDArray[np.bool_]) -> bytes:
    """Return the values as bits; nothing when all are false."""
    return np.packbits(values, bitorder="little").tobytes() if values.any() else b""


def _from_bits(data: bytes, count: int, field: str) -> NDArray[np.bool_]:
    """Return the first `count` bits; nothing when there are no bytes."""
    if len(data) not in (0, -(-count // 8)):
        raise InvalidInputError(field, f"must be empty or {-(-count // 8)} bytes, got {len(data)}")
    if not data:
        return np.empty(0, np.bool_)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little")
    return bits.astype(np.bool_)


def _to_uint32s(data: bytes, field: str) -> NDArray[np.uint32]:
    if len(data) % 4:
        raise InvalidInputError(field, f"must be 4 bytes each, got {len(data)} in all")
    return np.frombuffer(data, "<u4").astype(np.uint32)


def _to_positions(values: NDArray[np.int64] | NDArray[np.uint32], field: str) -> NDArray[np.int64]:
    if values.max(initial=0) >= MAX_DICTIONARY:
        raise InvalidInputError(field, f"must be below {MAX_DICTIONARY}, got {values.max()}")
    return values.astype(np.int64)


def _to_integers(values: Sequence[int], count: int, field: str, limit: int) -> NDArray[np.int64]:
    if len(values) != count:
        raise InvalidInputError(field, f"must have {count} entries, got {len(values)}")
    if values and max(values) >= limit:
        raise InvalidInputError(field, f"must be below {limit}, got {max(values)}")
    return np.array(values, np.int64)
