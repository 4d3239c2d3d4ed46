"""Converts related and popular content: from a published Global, checked, and on to devices."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import ID_BYTES
from constellation.errors import InvalidInputError
from constellation.federated.likes import MAX_DICTIONARY, MAX_NEIGHBOURS, DictionaryKey
from constellation.federated.published_related import (
    Dictionary,
    PopularList,
    PublishedRelated,
    pack_row_ids,
    unpack_row_ids,
)
from constellation.federated.terms import check_new_term
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from constellation.v1 import aggregates_pb2

MAX_SHIFT: Final = 30
"""The largest shift of a row's weights."""
MAX_ROW_CONTENTS: Final = 2 * MAX_DICTIONARY
"""The most content ids of all rows: rows of an earlier dictionary may still be published."""
MAX_POPULAR: Final = 200
"""The most content items of a list of popular content."""
MAX_POPULAR_LISTS: Final = 257
"""One list for all regions, and those of 256 regions."""
_HASH_BYTES: Final = 8
"""The first bytes of a row's id, which name its content item."""
_MAX_KEY_ID_BYTES: Final = 64
_SIGNATURE_BYTES: Final = 64
_MAX_DICTIONARY_VERSION: Final = 2**62


def to_dictionary(generation: int, sent: aggregates_pb2.RelatedContents) -> Dictionary:
    """Return the dictionary of a Global. Raises InvalidInputError for a bad one."""
    content_ids = sent.dictionary
    _check_count("related.dictionary", len(content_ids), MAX_DICTIONARY)
    _check_distinct("related.dictionary", _check_terms("related.dictionary", content_ids))
    if bool(sent.dictionary_version) != bool(content_ids):
        raise InvalidInputError(
            "related.dictionary_version",
            f"must be 0 without a dictionary and only then, got {sent.dictionary_version} for "
            f"{len(content_ids)} content items",
        )
    if sent.dictionary_version >= _MAX_DICTIONARY_VERSION:
        raise InvalidInputError(
            "related.dictionary_version",
            f"must be below {_MAX_DICTIONARY_VERSION}, got {sent.dictionary_version}",
        )
    if not content_ids:
        return Dictionary(DictionaryKey(), ())
    return Dictionary(DictionaryKey(generation, sent.dictionary_version), tuple(content_ids))


def to_related(rows: pb.RelatedRows) -> PublishedRelated:
    """Return the rows of a Global. Raises InvalidInputError, naming the column, for bad ones."""
    count = len(rows.contents)
    _check_count("related.rows.contents", count, MAX_DICTIONARY)
    _check_count("related.rows.content_ids", len(rows.content_ids), MAX_ROW_CONTENTS)
    _check_distinct(
        "related.rows.content_ids", _check_terms("related.rows.content_ids", rows.content_ids)
    )
    lengths = np.frombuffer(rows.neighbour_counts, np.uint8).astype(np.int64)
    for name, found, needed in (
        ("ids", len(rows.ids), count * ID_BYTES),
        ("neighbour_counts", len(lengths), count),
        ("shifts", len(rows.shifts), count),
        ("neighbours", len(rows.neighbours), int(lengths.sum())),
        ("weights", len(rows.weights), int(lengths.sum())),
    ):
        if found != needed:
            raise InvalidInputError(
                f"related.rows.{name}", f"must have length {needed} for {count} rows, got {found}"
            )
    _check_range("related.rows.neighbour_counts", lengths, 1, MAX_NEIGHBOURS)
    shifts = np.frombuffer(rows.shifts, np.uint8)
    _check_range("related.rows.shifts", shifts, 0, MAX_SHIFT)
    contents = np.array(rows.contents, np.int64)
    neighbours = np.array(rows.neighbours, np.int64)
    last = len(rows.content_ids) - 1
    _check_range("related.rows.contents", contents, 0, last)
    _check_range("related.rows.neighbours", neighbours, 0, last)
    _check_distinct("related.rows.contents", contents.tolist())
    weights = np.frombuffer(rows.weights, np.int8)
    if not weights.all():
        raise InvalidInputError("related.rows.weights", "must not be 0")
    _check_neighbours(contents, neighbours, lengths)
    _check_row_ids(rows.ids, [rows.content_ids[each] for each in rows.contents])
    return PublishedRelated(
        unpack_row_ids(rows.ids),
        tuple(rows.content_ids),
        contents,
        lengths,
        neighbours,
        weights,
        shifts,
    )


def to_popular(lists: Sequence[pb.PopularContents]) -> list[PopularList]:
    """Return the lists of a Global. Raises InvalidInputError for bad ones."""
    _check_count("popular", len(lists), MAX_POPULAR_LISTS)
    _check_distinct("popular.region", [each.region for each in lists])
    _check_distinct("popular.id", [each.id for each in lists])
    return [_to_popular_list(each) for each in lists]


def from_related(related: PublishedRelated, positions: NDArray[np.int64]) -> pb.RelatedRows:
    """Return the rows at some positions."""
    chosen = related.select(positions)
    return pb.RelatedRows(
        ids=pack_row_ids(chosen.ids),
        content_ids=chosen.content_ids,
        contents=chosen.contents.tolist(),
        neighbour_counts=chosen.lengths.astype(np.uint8).tobytes(),
        neighbours=chosen.neighbours.tolist(),
        weights=chosen.weights.tobytes(),
        shifts=chosen.shifts.tobytes(),
    )


def from_popular(lists: Iterable[PopularList]) -> list[pb.PopularContents]:
    """Return the messages of lists of popular content."""
    return [
        pb.PopularContents(
            id=each.list_id,
            region=each.region,
            content_ids=each.content_ids,
            households=each.households,
            key_id=each.key_id,
            signature=each.signature,
        )
        for each in lists
    ]


def _to_popular_list(sent: pb.PopularContents) -> PopularList:
    if len(sent.id) != ID_BYTES:
        raise InvalidInputError("popular.id", f"must be {ID_BYTES} bytes, got {len(sent.id)}")
    if sent.region:
        _check_terms("popular.region", [sent.region])
    _check_count("popular.content_ids", len(sent.content_ids), MAX_POPULAR)
    _check_distinct("popular.content_ids", _check_terms("popular.content_ids", sent.content_ids))
    if len(sent.households) != len(sent.content_ids):
        raise InvalidInputError(
            "popular.households",
            f"must have {len(sent.content_ids)} entries, got {len(sent.households)}",
        )
    if list(sent.households) != sorted(sent.households, reverse=True):
        raise InvalidInputError("popular.households", "must not grow from one to the next")
    for name, size, most in (
        ("key_id", len(sent.key_id.encode()), _MAX_KEY_ID_BYTES),
        ("signature", len(sent.signature), _SIGNATURE_BYTES),
    ):
        if size > most:
            raise InvalidInputError(f"popular.{name}", f"must be at most {most} bytes, got {size}")
    return PopularList(
        sent.id,
        sent.region,
        tuple(sent.content_ids),
        tuple(sent.households),
        sent.key_id,
        sent.signature,
    )


def _check_neighbours(
    contents: NDArray[np.int64], neighbours: NDArray[np.int64], lengths: NDArray[np.int64]
) -> None:
    """Raise InvalidInputError for a neighbour that is the row's content item, or named twice."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    pairs = rows * (MAX_ROW_CONTENTS + 1) + neighbours
    if (contents[rows] == neighbours).any() or len(np.unique(pairs)) != len(pairs):
        raise InvalidInputError(
            "related.rows.neighbours", "must be distinct in a row, and not the row's content item"
        )


def _check_row_ids(ids: bytes, content_ids: Sequence[str]) -> None:
    for number, content_id in enumerate(content_ids):
        named = ids[number * ID_BYTES :][:_HASH_BYTES]
        if named != sha256(content_id.encode()).digest()[:_HASH_BYTES]:
            raise InvalidInputError(
                "related.rows.ids",
                f"must begin with the SHA-256 of the row's content id, row {number} does not",
            )


def _check_terms(field: str, texts: Sequence[str]) -> Sequence[str]:
    try:
        for text in texts:
            check_new_term(text)
    except ValueError as error:
        raise InvalidInputError(field, str(error)) from None
    return texts


def _check_distinct(field: str, values: Sequence[object]) -> None:
    if len(set(values)) != len(values):
        raise InvalidInputError(field, "must be distinct")


def _check_count(field: str, count: int, most: int) -> None:
    if count > most:
        raise InvalidInputError(field, f"must have at most {most} entries, got {count}")


def _check_range(field: str, values: NDArray[np.integer], least: int, most: int) -> None:
    wrong = values[(values < least) | (values > most)]
    if len(wrong):
        raise InvalidInputError(field, f"must be from {least} to {most} each, got {wrong[0]}")
