"""Conversion of related and popular content between the SDK's values and the API."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import ID_BYTES
from constellation.v1 import patterns_pb2 as pb
from constellation_settop.values import PopularContents, RelatedRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

MAX_RELATED: Final = 512
"""The most rows of related content that a device keeps, because it can declare no more in Hello."""
MAX_NEIGHBOURS: Final = 64
"""Neighbours of one row."""
MAX_SHIFT: Final = 30
MAX_POPULAR_LISTS: Final = 2
"""Lists of popular content that a device keeps: that of its region, and that of all regions."""
MAX_POPULAR: Final = 200
"""Content items of one such list."""
MAX_CONTENT_ID_BYTES: Final = 64
MAX_REGION_BYTES: Final = 256
_PREFIX_BYTES: Final = 8
"""Bytes of the hash of a content id with which the ids of its rows begin."""


def split_ids(ids: bytes) -> list[bytes]:
    """Return the ids of a column, 16 bytes each; raise ValueError when the last one is cut off."""
    if len(ids) % ID_BYTES:
        raise ValueError(f"ids must be {ID_BYTES} bytes each, got {len(ids)} bytes in all")
    return [ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES)]


def to_related_rows(columns: pb.RelatedRows) -> dict[bytes, RelatedRow]:
    """Return the rows of a column message, by row id; raise ValueError when it is malformed."""
    row_ids = split_ids(columns.ids)
    counts = np.frombuffer(columns.neighbour_counts, np.uint8)
    _check_related_columns(columns, len(row_ids), counts)
    content_ids = columns.content_ids
    _check_content_ids(content_ids)
    contents = _to_positions(columns.contents, len(content_ids))
    neighbours = _to_positions(columns.neighbours, len(content_ids))
    rows: dict[bytes, RelatedRow] = {}
    start = 0
    for index, row_id in enumerate(row_ids):
        end = start + int(counts[index])
        names = tuple(content_ids[position] for position in neighbours[start:end])
        weights = columns.weights[start:end]
        row = RelatedRow(content_ids[contents[index]], names, weights, columns.shifts[index])
        _check_related_row(row_id, row)
        rows[row_id] = row
        start = end
    if len({row.content_id for row in rows.values()}) < len(row_ids):
        raise ValueError("related content must have at most one row for each content item")
    return rows


def _check_related_columns(
    columns: pb.RelatedRows, row_count: int, counts: NDArray[np.uint8]
) -> None:
    if not row_count == len(columns.contents) == len(counts) == len(columns.shifts):
        raise ValueError("the columns of related content have different lengths")
    entries = int(counts.sum(dtype=np.int64))
    if not entries == len(columns.neighbours) == len(columns.weights):
        raise ValueError(f"related content must have {entries} neighbours and weights")
    if counts.min(initial=1) < 1 or counts.max(initial=1) > MAX_NEIGHBOURS:
        raise ValueError(f"a row of related content must have 1 to {MAX_NEIGHBOURS} neighbours")
    if max(columns.shifts, default=0) > MAX_SHIFT:
        raise ValueError(f"a shift must be from 0 to {MAX_SHIFT}, got {max(columns.shifts)}")
    if 0 in columns.weights:
        raise ValueError("a weight of related content must not be 0")


def _check_related_row(row_id: bytes, row: RelatedRow) -> None:
    if row_id[:_PREFIX_BYTES] != sha256(row.content_id.encode()).digest()[:_PREFIX_BYTES]:
        raise ValueError("the id of a row of related content must begin with its content's hash")
    if len({row.content_id, *row.neighbours}) <= len(row.neighbours):
        raise ValueError("a row of related content must name other content items, each once")


def _to_positions(indexes: Sequence[int], size: int) -> NDArray[np.int64]:
    positions = np.array(indexes, np.int64)
    if positions.size and positions.max() >= size:
        raise ValueError(f"an index of related content must be below {size}, got {positions.max()}")
    return positions


def _check_content_ids(content_ids: Sequence[str]) -> None:
    for content_id in content_ids:
        size = len(content_id.encode())
        if not 1 <= size <= MAX_CONTENT_ID_BYTES:
            raise ValueError(
                f"a content id must have 1 to {MAX_CONTENT_ID_BYTES} bytes, got {size}"
            )


def from_related_rows(rows: Mapping[bytes, RelatedRow]) -> pb.RelatedRows:
    """Return the column message of rows, which are given by row id."""
    names: dict[str, int] = {}
    columns = pb.RelatedRows(
        ids=b"".join(rows),
        neighbour_counts=bytes(len(row.neighbours) for row in rows.values()),
        weights=b"".join(row.weights for row in rows.values()),
        shifts=bytes(row.shift for row in rows.values()),
    )
    for row in rows.values():
        columns.contents.append(names.setdefault(row.content_id, len(names)))
        columns.neighbours.extend(names.setdefault(each, len(names)) for each in row.neighbours)
    columns.content_ids.extend(names)
    return columns


def to_popular(messages: Iterable[pb.PopularContents]) -> dict[bytes, PopularContents]:
    """Return lists of popular content by their ids; raise ValueError for a malformed one."""
    lists = {}
    for message in messages:
        content_ids = tuple(message.content_ids)
        if len(message.id) != ID_BYTES:
            raise ValueError(f"the id of a list must be {ID_BYTES} bytes, got {len(message.id)}")
        if not len(content_ids) == len(message.households) == len(set(content_ids)):
            raise ValueError("a list of popular content must have distinct content and its counts")
        if len(content_ids) > MAX_POPULAR:
            raise ValueError(f"a list has at most {MAX_POPULAR} content items")
        if len(message.region.encode()) > MAX_REGION_BYTES:
            raise ValueError(f"a region has at most {MAX_REGION_BYTES} bytes")
        _check_content_ids(content_ids)
        lists[message.id] = PopularContents(message.region, content_ids, tuple(message.households))
    return lists


def from_popular(list_id: bytes, popular: PopularContents) -> pb.PopularContents:
    """Return the message of one list of popular content."""
    return pb.PopularContents(
        id=list_id,
        region=popular.region,
        content_ids=popular.content_ids,
        households=popular.households,
    )


def apply_related(
    current: Mapping[bytes, RelatedRow], update: pb.GlobalUpdate
) -> dict[bytes, RelatedRow]:
    """Return the rows after an update: a new row replaces the one of the same content item.

    Raises ValueError when the update is malformed, or leaves more than a device keeps.
    """
    new = to_related_rows(update.related)
    removed = set(split_ids(update.removed_related_ids))
    replaced = {row.content_id for row in new.values()}
    kept = {
        row_id: row
        for row_id, row in current.items()
        if row_id not in removed and row.content_id not in replaced
    }
    rows = kept | new
    if len(rows) > MAX_RELATED:
        raise ValueError(f"a device keeps at most {MAX_RELATED} rows of related content")
    return rows


def apply_popular(
    current: Mapping[bytes, PopularContents], update: pb.GlobalUpdate
) -> dict[bytes, PopularContents]:
    """Return the lists after an update: a new list replaces the one of the same region.

    Raises ValueError when the update is malformed, or leaves more than a device keeps.
    """
    new = to_popular(update.popular)
    removed = set(split_ids(update.removed_popular_ids))
    regions = {each.region for each in new.values()}
    kept = {
        list_id: each
        for list_id, each in current.items()
        if list_id not in removed and each.region not in regions
    }
    lists = kept | new
    if len(lists) > MAX_POPULAR_LISTS:
        raise ValueError(f"a device keeps at most {MAX_POPULAR_LISTS} lists of popular content")
    return lists
