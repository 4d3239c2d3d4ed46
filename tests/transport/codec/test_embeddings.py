"""Embeddings of a request come in any encoding, and become unit length."""

from __future__ import annotations

import numpy as np
import pytest

from constellation.encoding import Encoding, encode
from constellation.errors import InvalidInputError
from constellation.transport.codec.embeddings import decode_embeddings, to_encoding
from tests.deltas import embedding

ROWS = np.stack([embedding(1), embedding(2)])


@pytest.mark.parametrize("number", [0, 4, -1])
def test_an_unknown_encoding_is_refused(number: int) -> None:
    with pytest.raises(InvalidInputError, match=f"encoding must be 1 .* got {number}"):
        to_encoding(number)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_embeddings_of_any_norm_become_unit_length(encoding: Encoding) -> None:
    found = decode_embeddings(encode(ROWS * np.float32(7), encoding), int(encoding), "query")

    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert np.sum(found * ROWS, axis=1) == pytest.approx([1, 1], abs=1e-3)


@pytest.mark.parametrize("data", [b"", bytes(387), bytes(389)])
def test_a_row_that_is_cut_short_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match="query must be 388 bytes each in INT8"):
        decode_embeddings(data, int(Encoding.INT8), "query")


@pytest.mark.parametrize(
    ("value", "problem"),
    [(np.nan, "must be finite"), (np.inf, "must be finite"), (0, "norm"), (1e9, "norm")],
)
def test_an_unusable_value_is_refused(value: float, problem: str) -> None:
    rows = np.full((1, 384), value, np.float32)

    with pytest.raises(InvalidInputError, match=problem):
        decode_embeddings(encode(rows, Encoding.FLOAT32), int(Encoding.FLOAT32), "query")
