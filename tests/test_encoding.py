from __future__ import annotations

import numpy as np
import pytest

from constellation.encoding import (
    DIMENSION,
    INT8_ROW,
    ROW_BYTES,
    Embeddings,
    Encoding,
    decode,
    encode,
    encode_codes,
    normalise_codes,
    pack_int8,
    quantise,
    unit_scales,
)
from tests.deltas import embedding


def make_embeddings(count: int) -> Embeddings:
    return np.random.default_rng(1).standard_normal((count, DIMENSION), np.float32)


@pytest.mark.parametrize(
    ("encoding", "tolerance"),
    [(Encoding.FLOAT32, 0.0), (Encoding.FLOAT16, 2**-9), (Encoding.INT8, 0.02)],
)
def test_embeddings_are_decoded_as_they_were_encoded(encoding: Encoding, tolerance: float) -> None:
    embeddings = make_embeddings(5)

    data = encode(embeddings, encoding)

    assert len(data) == 5 * ROW_BYTES[encoding]
    assert decode(data, encoding).dtype == np.float32
    assert np.abs(decode(data, encoding) - embeddings).max() <= tolerance


def test_an_embedding_takes_1536_768_or_388_bytes() -> None:
    assert [ROW_BYTES[encoding] for encoding in Encoding] == [1536, 768, 388]


def test_numbers_are_little_endian() -> None:
    one = np.zeros((1, DIMENSION), np.float32)
    one[0, 0] = 1.0

    assert encode(one, Encoding.FLOAT32)[:4] == b"\x00\x00\x80\x3f"
    assert encode(one, Encoding.FLOAT16)[:2] == b"\x00\x3c"
    assert pack_int8(np.ones((1, DIMENSION), np.int8), np.ones(1, np.float32))[:5] == (
        b"\x00\x00\x80\x3f\x01"
    )


@pytest.mark.parametrize("encoding", Encoding)
def test_no_embeddings_are_no_bytes(encoding: Encoding) -> None:
    assert encode(make_embeddings(0), encoding) == b""
    assert decode(b"", encoding).shape == (0, DIMENSION)


@pytest.mark.parametrize("encoding", Encoding)
def test_a_part_of_an_embedding_is_refused(encoding: Encoding) -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        decode(bytes(ROW_BYTES[encoding] - 1), encoding)


def test_the_scale_of_a_row_maps_its_largest_number_to_127() -> None:
    embeddings = make_embeddings(3)

    codes, scales = quantise(embeddings)

    assert np.abs(codes).max(axis=1).tolist() == [127] * 3
    assert np.allclose(scales * 127, np.abs(embeddings).max(axis=1))
    assert np.abs(codes * scales[:, None] - embeddings).max() <= scales.max() / 2 + 1e-6


def test_a_row_of_zeros_has_codes_of_zero_and_the_scale_1() -> None:
    codes, scales = quantise(np.zeros((1, DIMENSION), np.float32))

    assert not codes.any()
    assert scales.tolist() == [1.0]
    assert unit_scales(codes).tolist() == [np.inf]


def test_codes_become_unit_length_whatever_their_scale() -> None:
    embeddings = make_embeddings(4)
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    small, large = (normalise_codes(quantise(embeddings * scale)[0]) for scale in (1e-3, 1e3))

    assert np.allclose(np.linalg.norm(small, axis=1), 1.0, atol=1e-6)
    assert np.array_equal(small, large)
    assert (small * units).sum(axis=1).min() > 0.999


def test_a_packed_row_holds_its_scale_and_its_codes() -> None:
    codes, scales = quantise(make_embeddings(2))

    rows = np.frombuffer(pack_int8(codes, scales), INT8_ROW)

    assert np.array_equal(rows["codes"], codes)
    assert np.array_equal(rows["scale"], scales)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_stored_codes_leave_as_unit_length_rows(encoding: Encoding) -> None:
    rows = np.stack([embedding(1), embedding(2)])
    codes, _ = quantise(rows)

    found = decode(encode_codes(codes, encoding), encoding)

    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1], abs=1e-3)
    assert np.sum(found * rows, axis=1) == pytest.approx([1, 1], abs=1e-3)


def test_codes_that_leave_in_int8_are_those_that_are_stored() -> None:
    codes, _ = quantise(np.stack([embedding(1), embedding(2)]))

    data = encode_codes(codes, Encoding.INT8)

    assert [data[4:388], data[392:]] == [row.tobytes() for row in codes]
