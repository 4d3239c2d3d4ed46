"""Embeddings come in any encoding, become unit length, and leave in any encoding."""

from __future__ import annotations

import numpy as np
import pytest

from constellation.encoding import Encoding, decode, encode, quantise
from constellation.errors import InvalidInputError
from constellation.transport.codec.embeddings import (
    decode_embeddings,
    encode_codes,
    to_encoding,
)
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


@pytest.mark.parametrize("encoding", list(Encoding))
def test_stored_codes_leave_as_unit_length_rows(encoding: Encoding) -> None:
    codes, _ = quantise(ROWS)

    found = decode(encode_codes(codes, encoding), encoding)

    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1], abs=1e-3)
    assert np.sum(found * ROWS, axis=1) == pytest.approx([1, 1], abs=1e-3)


def test_codes_that_leave_in_int8_are_those_that_are_stored() -> None:
    codes, _ = quantise(ROWS)

    data = encode_codes(codes, Encoding.INT8)

    assert [data[4:388], data[392:]] == [row.tobytes() for row in codes]
