"""Embeddings in requests: their encoding by number, and their bytes to unit-length rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.ingest.decode import MAX_NORM, MIN_NORM
from constellation.encoding import ROW_BYTES, Encoding, decode
from constellation.errors import InvalidInputError

if TYPE_CHECKING:
    from constellation.encoding import Embeddings

_ENCODINGS: Final = {int(encoding): encoding for encoding in Encoding}


def to_encoding(number: int) -> Encoding:
    """Return the encoding that has a number in the API. Raises InvalidInputError for any other."""
    encoding = _ENCODINGS.get(number)
    if encoding is None:
        raise InvalidInputError(
            "encoding", f"must be 1 (FLOAT32), 2 (FLOAT16) or 3 (INT8), got {number}"
        )
    return encoding


def decode_embeddings(data: bytes, encoding_number: int, field: str) -> Embeddings:
    """Return unit-length embeddings, shape (n, DIMENSION), with n at least 1.

    Raises InvalidInputError, naming `field`, unless `data` is whole rows of finite values whose
    norm is usable.
    """
    encoding = to_encoding(encoding_number)
    if not data or len(data) % ROW_BYTES[encoding]:
        raise InvalidInputError(
            field,
            f"must be {ROW_BYTES[encoding]} bytes each in {encoding.name}, got {len(data)} in all",
        )
    values = decode(data, encoding)
    if not np.isfinite(values).all():
        raise InvalidInputError(field, "must be finite: it holds NaN or infinity")
    norms = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
    bad = norms[(norms < MIN_NORM) | (norms > MAX_NORM)]
    if len(bad):
        raise InvalidInputError(field, f"must have a norm from 1e-6 to 1e3, got {bad[0]:.3g}")
    unit_rows: Embeddings = (values / norms[:, None]).astype(np.float32)
    return unit_rows
