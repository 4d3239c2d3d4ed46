from __future__ import annotations

import numpy as np
import pytest

from constellation.cli.columns import PatternRow, format_content_type, to_embeddings, to_rows
from constellation.encoding import Encoding, encode
from constellation.v1 import patterns_pb2 as pb
from tests.deltas import embedding


def test_columns_become_rows_in_their_order() -> None:
    columns = pb.PatternColumns(
        ids=bytes(16) + b"\xff" * 16,
        success_rates=[0.5, 1],
        sample_counts=[3, 1],
        updated_at=[60, 120],
        times_of_day=bytes([pb.TIME_OF_DAY_EVENING, 0]),
        day_types=bytes([pb.DAY_TYPE_WEEKEND, 0]),
        content_types=bytes([pb.CONTENT_TYPE_MOVIE, 0]),
        genres=["Drama"],
        genre_counts=bytes([1, 0]),
        genre_indexes=[0],
        content_ids=["film:1", "film:2"],
        content_counts=bytes([1, 2]),
        content_indexes=[1, 0, 1],
    )

    first, second = to_rows(columns)

    assert first == PatternRow(
        "00" * 16, 0.5, 3, "evening, weekend, movie", 60, ("Drama",), ("film:2",)
    )
    assert second == PatternRow("ff" * 16, 1, 1, "", 120, (), ("film:1", "film:2"))


def test_columns_that_clusters_leave_out_have_defaults() -> None:
    (row,) = to_rows(pb.PatternColumns(ids=bytes(16), success_rates=[1], sample_counts=[2]))

    assert (row.context, row.updated_at, row.genres, row.content_ids) == ("", 0, (), ())


@pytest.mark.parametrize("encoding", [Encoding.FLOAT32, Encoding.INT8])
def test_embeddings_have_unit_length_in_every_encoding(encoding: Encoding) -> None:
    expected = np.stack([embedding(1), embedding(2)])
    columns = pb.PatternColumns(
        encoding=pb.Encoding.ValueType(encoding), embeddings=encode(expected, encoding)
    )

    embeddings = to_embeddings(columns)

    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(1)
    assert (embeddings * expected).sum(axis=1) == pytest.approx(1, abs=1e-3)


def test_content_types_are_the_words_of_a_catalogue() -> None:
    assert format_content_type(pb.CONTENT_TYPE_EPISODE) == "episode"
