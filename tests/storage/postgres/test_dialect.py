from __future__ import annotations

import json

import numpy as np
import pytest

from constellation.encoding import DIMENSION, Codes
from constellation.storage.postgres.dialect import DIALECTS, PGVECTOR, RUVECTOR, Dialect

CODES: Codes = np.arange(3 * DIMENSION).reshape(3, DIMENSION).astype(np.int8)
"""Three embeddings that contain every code."""


def to_text(codes: Codes) -> str:
    """Return an embedding as RuVector prints it."""
    return str(codes.tolist()).replace(" ", "")


def test_pgvector_reads_what_it_wrote_one_by_one_or_together() -> None:
    wire = PGVECTOR.encode(CODES)

    assert np.array_equal(PGVECTOR.decode(wire.tobytes()), CODES)
    assert np.array_equal(PGVECTOR.decode([row.tobytes() for row in wire]), CODES)


def test_pgvector_gets_the_dimension_and_big_endian_half_precision_numbers() -> None:
    row = PGVECTOR.encode(CODES)[1].tobytes()

    assert row[:4] == DIMENSION.to_bytes(2, "big") + bytes(2)
    assert np.frombuffer(row[4:], ">f2").astype(np.int8).tolist() == CODES[1].tolist()


def test_ruvector_gets_text_literals_of_one_width() -> None:
    literals = [row.tobytes().decode() for row in RUVECTOR.encode(CODES)]

    assert {len(each) for each in literals} == {RUVECTOR.copy_dtype.itemsize}
    assert literals[0].startswith("[0000,0001,0002")
    assert [[int(code) for code in each.strip("[]").split(",")] for each in literals] == (
        CODES.tolist()
    )


def test_ruvector_reads_the_literals_that_its_server_prints() -> None:
    assert np.array_equal(RUVECTOR.decode([to_text(row) for row in CODES]), CODES)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_literal_names_every_code(dialect: Dialect) -> None:
    assert json.loads(dialect.to_literal(CODES[1].tobytes())) == CODES[1].tolist()


def test_an_embedding_of_another_dimension_is_refused() -> None:
    other = bytearray(PGVECTOR.encode(CODES[:1]).tobytes())
    other[1] -= 1

    with pytest.raises(ValueError, match="does not have 384 numbers"):
        PGVECTOR.decode(bytes(other))
    with pytest.raises(ValueError, match="does not have 384 numbers"):
        RUVECTOR.decode(["[1,2,3]"])
