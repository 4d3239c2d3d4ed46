"""The columns of a catalogue: keys of content ids, and the order of their UTF-8 bytes."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from constellation.encoding import quantise
from constellation_settop.recommending.catalogue_columns import (
    CatalogueColumns,
    build_columns,
    rank_ids,
    sort_columns,
    to_key,
)
from tests.clients.samples import make_unit_rows

IDS = ["film:é", "film:b", "\U0001f3ac", "film:a", "ｚ"]  # noqa: RUF001 - a wide z
GENRES = [["Drama"], [], ["News", "Drama"], ["Crime"], []]


def build(hashes: bool = True) -> CatalogueColumns:  # noqa: FBT001, FBT002 - one flag of a helper
    codes, _ = quantise(make_unit_rows(len(IDS)))
    return build_columns(
        IDS,
        [each.upper() for each in IDS],
        GENRES,
        np.arange(len(IDS), dtype=np.uint8),
        codes,
        np.arange(100, 100 + len(IDS), dtype=np.uint64) if hashes else None,
    )


def read_genres(columns: CatalogueColumns, row: int) -> list[str]:
    start, end = columns.genre_offsets[row : row + 2].tolist()
    return [columns.genre_names[int(index)] for index in columns.genre_indexes[start:end]]


def test_a_key_is_the_first_8_bytes_of_the_sha256() -> None:
    assert to_key("film:é") == int.from_bytes(sha256("film:é".encode()).digest()[:8], "big")


def test_keys_lead_to_their_rows() -> None:
    columns = build()

    assert (np.diff(columns.keys.astype(object)) > 0).all()
    found = {int(key): int(row) for key, row in zip(columns.keys, columns.key_rows, strict=True)}
    assert found == {to_key(content_id): row for row, content_id in enumerate(IDS)}


def test_ranks_follow_utf8_bytes() -> None:
    ranks = rank_ids(build())

    assert [IDS[row] for row in np.argsort(ranks)] == sorted(IDS, key=str.encode)


def test_sorting_moves_whole_rows_and_keys_lead_to_the_new_ones() -> None:
    columns = build()

    ordered = sort_columns(columns)

    assert [ordered.content_ids[row] for row in range(len(IDS))] == sorted(IDS, key=str.encode)
    for row, content_id in enumerate(IDS):
        at = sorted(IDS, key=str.encode).index(content_id)
        assert ordered.titles[at] == content_id.upper()
        assert read_genres(ordered, at) == GENRES[row]
        assert ordered.content_types[at] == row
        assert ordered.item_hashes[at] == 100 + row
        assert (ordered.codes[at] == columns.codes[row]).all()
        assert ordered.deviation_scales[at] == columns.deviation_scales[row]
        assert ordered.key_rows[ordered.keys == to_key(content_id)] == at


def test_columns_in_order_are_returned_as_they_are() -> None:
    ordered = sort_columns(build(hashes=False))

    assert sort_columns(ordered) is ordered
    assert len(ordered.item_hashes) == 0
