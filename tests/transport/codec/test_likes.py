from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from constellation.errors import InvalidInputError
from constellation.federated.likes import LikeCounts, PairRows, join_pairs
from constellation.transport.codec.likes import (
    encode_likes,
    encode_pairs,
    to_dictionary_key,
    to_like_counts,
    to_pair_rows,
)
from constellation.v1 import aggregates_pb2 as pb
from tests.federation.liked import make_pairs

MEBIBYTE = 2**20


def describe(pairs: PairRows) -> list[list[int]]:
    columns = (pairs.rows, pairs.versions, pairs.lengths, pairs.columns, pairs.devices)
    return [column.tolist() for column in (*columns, pairs.unsupported)]


def test_likes_come_back_from_chunks_of_at_most_a_mebibyte() -> None:
    names = [f"{'é' * 20}:{number}" for number in range(40_000)]
    unsupported = np.arange(40_000) % 3 == 0
    likes = LikeCounts(names, np.arange(40_000, dtype=np.uint32), unsupported)

    chunks = list(encode_likes(likes))

    assert len(chunks) > 1
    assert max(chunk.ByteSize() for chunk in chunks) <= MEBIBYTE
    parts = [to_like_counts(chunk) for chunk in chunks]
    assert [each for part in parts for each in part.content_ids] == names
    assert np.concatenate([part.devices for part in parts]).tolist() == list(range(40_000))
    assert (np.concatenate([part.unsupported for part in parts]) == unsupported).all()


def test_pairs_come_back_from_chunks_of_at_most_a_mebibyte() -> None:
    random = np.random.default_rng(1)
    cells = {
        (row, int(column)): int(random.integers(1, 2**32))
        for row in range(60)
        for column in np.unique(random.integers(row + 1, 8192, 6000))
    }
    pairs = make_pairs(cells, 62, version=2**40)
    pairs = replace(pairs, unsupported=random.random(len(cells)) < 0.5)

    chunks = list(encode_pairs(pairs))

    assert len(chunks) > 1
    assert max(chunk.ByteSize() for chunk in chunks) <= MEBIBYTE
    parts = [to_pair_rows(chunk) for chunk in reversed(chunks)]
    assert describe(join_pairs(parts)) == describe(pairs)


def test_nothing_makes_no_chunk() -> None:
    assert list(encode_pairs(make_pairs({}, 0))) == []
    assert list(encode_likes(LikeCounts([], np.empty(0, np.uint32)))) == []


def test_rows_in_any_order_come_back_in_ascending_order() -> None:
    pairs = make_pairs({(0, 1): 3, (0, 2): 4, (1, 2): 5}, 2)
    message = pb.PairColumns(
        rows=[1, 0],
        versions=[1, 1],
        lengths=[1, 2],
        columns=np.array([2, 1, 2], "<u4").tobytes(),
        devices=np.array([5, 3, 4], "<u4").tobytes(),
    )

    assert describe(to_pair_rows(message)) == describe(pairs)


def make_message(**changes: Any) -> pb.PairColumns:
    """Return the pairs (0, 1), (0, 2) and (1, 2), with some columns replaced."""
    columns: dict[str, Any] = {
        "rows": [0, 1],
        "versions": [1, 1],
        "lengths": [2, 1],
        "columns": [1, 2, 2],
        "devices": [3, 3, 3],
        **changes,
    }
    for name in ("columns", "devices"):
        if not isinstance(columns[name], bytes):
            columns[name] = np.array(columns[name], "<u4").tobytes()
    return pb.PairColumns(**columns)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"versions": [1]}, "pairs.versions must have 2 entries, got 1"),
        ({"versions": [1, 2**62]}, "pairs.versions must be below"),
        ({"lengths": [2]}, "pairs.lengths must have 2 entries, got 1"),
        ({"lengths": [2, 2]}, "pairs must have 4 columns and devices, got 3, 3"),
        ({"lengths": [2, 8192]}, "pairs.lengths must be below 8192"),
        ({"devices": [3, 3]}, "pairs must have 3 columns and devices, got 3, 2"),
        ({"devices": b"12345"}, "pairs.devices must be 4 bytes each, got 5 in all"),
        ({"rows": [0, 0]}, "pairs.rows must be distinct"),
        ({"rows": [0, 8192]}, "pairs.rows must be below 8192, got 8192"),
        ({"columns": [1, 2, 8192]}, "pairs.columns must be below 8192, got 8192"),
        ({"columns": [0, 2, 2]}, "pairs.columns must be ascending and after their row"),
        ({"columns": [1, 2, 1]}, "pairs.columns must be ascending and after their row"),
        ({"columns": [2, 1, 2]}, "pairs.columns must be ascending and after their row"),
        ({"columns": [1, 1, 2]}, "pairs.columns must be ascending and after their row"),
        ({"devices": [3, 0, 3]}, "pairs.devices must be at least 1"),
        ({"unsupported": b"12"}, "pairs.unsupported must be empty or 1 bytes, got 2"),
    ],
)
def test_impossible_pairs_are_refused_by_name(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        to_pair_rows(make_message(**changes))


def test_a_row_may_begin_with_a_column_below_the_last_of_the_row_before() -> None:
    message = make_message(columns=[1, 9, 2])

    assert to_pair_rows(message).columns.tolist() == [1, 9, 2]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (pb.LikeColumns(content_ids=["a", "b"], devices=[1]), "likes.devices must have 2"),
        (pb.LikeColumns(content_ids=["a", "a"], devices=[1, 2]), "likes.content_ids must be dist"),
        (
            pb.LikeColumns(content_ids=["a"], devices=[1], unsupported=b"12"),
            "likes.unsupported must be empty or 1 bytes, got 2",
        ),
    ],
)
def test_impossible_likes_are_refused_by_name(message: pb.LikeColumns, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        to_like_counts(message)


def test_a_dictionary_that_took_effect_at_an_impossible_version_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="dictionary_effective_version"):
        to_dictionary_key(pb.AggregateHeader(dictionary_effective_version=2**62))
