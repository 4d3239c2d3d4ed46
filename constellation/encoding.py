"""Embeddings to bytes and back, for the shard and the set-top SDK alike.

Everything is little-endian and decoded a batch at a time with one ``np.frombuffer``.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
"""Numbers in an embedding: all-MiniLM-L6-v2's."""

ID_BYTES = 16
"""Bytes in a device id or a pattern id."""

Embeddings = NDArray[np.float32]
"""Shape (n, DIMENSION)."""

Codes = NDArray[np.int8]
"""Shape (n, DIMENSION): embeddings as they are stored; unit length once divided by their norm."""


class Encoding(IntEnum):
    """How one embedding is written; the numbers are those of the .proto."""

    FLOAT32 = 1
    FLOAT16 = 2
    INT8 = 3


INT8_ROW = np.dtype([("scale", "<f4"), ("codes", "i1", (DIMENSION,))])

ROW_DTYPES: dict[Encoding, np.dtype[np.void]] = {
    Encoding.FLOAT32: np.dtype([("values", "<f4", (DIMENSION,))]),
    Encoding.FLOAT16: np.dtype([("values", "<f2", (DIMENSION,))]),
    Encoding.INT8: INT8_ROW,
}
"""One embedding's bytes, by encoding: 1536, 768 and 388 of them."""

ROW_BYTES: dict[Encoding, int] = {encoding: row.itemsize for encoding, row in ROW_DTYPES.items()}


def decode(data: bytes, encoding: Encoding) -> Embeddings:
    """Return the embeddings as sent: shape (n, DIMENSION), of any norm, possibly not finite.

    Raises ValueError when `data` is not a whole number of rows.
    """
    rows = np.frombuffer(data, dtype=ROW_DTYPES[encoding])
    if encoding is Encoding.INT8:
        scaled: Embeddings = rows["codes"] * rows["scale"][:, None]
        return scaled
    values: Embeddings = rows["values"].astype(np.float32)
    return values


def encode(embeddings: Embeddings, encoding: Encoding) -> bytes:
    """Return the bytes of finite embeddings, shape (n, DIMENSION)."""
    if encoding is Encoding.INT8:
        codes, scales = quantise(embeddings)
        return pack_int8(codes, scales)
    return embeddings.astype(ROW_DTYPES[encoding]["values"].base).tobytes()


def pack_int8(codes: Codes, scales: NDArray[np.float32]) -> bytes:
    """Return INT8 rows of codes (n, DIMENSION) and their scales (n,)."""
    rows = np.empty(len(codes), dtype=INT8_ROW)
    rows["scale"] = scales
    rows["codes"] = codes
    return rows.tobytes()


def quantise(embeddings: Embeddings) -> tuple[Codes, NDArray[np.float32]]:
    """Return symmetric INT8 codes and the scale of each row, which is max |x| / 127.

    A row of zeros gets zero codes and scale 1.
    """
    peaks = np.abs(embeddings).max(axis=1, initial=0.0)
    scales = np.where(peaks > 0, peaks / np.float32(127), np.float32(1)).astype(np.float32)
    codes = np.rint(embeddings / scales[:, None]).astype(np.int8)
    return codes, scales


def unit_scales(codes: Codes) -> NDArray[np.float32]:
    """Return what makes each row of codes unit length, shape (n,); infinite for a row of zeros.

    The norm is summed in integers, so every machine gets the same bits.
    """
    wide = codes.astype(np.int32)
    squares = np.einsum("ij,ij->i", wide, wide)
    with np.errstate(divide="ignore"):
        scales: NDArray[np.float32] = (1.0 / np.sqrt(squares.astype(np.float64))).astype(np.float32)
    return scales


def normalise_codes(codes: Codes) -> Embeddings:
    """Return unit-length embeddings of stored codes, shape (n, DIMENSION)."""
    embeddings: Embeddings = codes * unit_scales(codes)[:, None]
    return embeddings
