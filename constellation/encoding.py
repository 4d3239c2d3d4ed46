"""Encoding of embeddings as bytes, shared by the servers and the set-top SDK.

All numbers are little-endian. A whole batch is decoded with one `np.frombuffer`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
"""Numbers in an embedding of the model all-MiniLM-L6-v2."""

ID_BYTES = 16
"""Bytes in a device id or a pattern id."""

_BLOCK_ROWS = 4096
"""Rows that are widened at once."""

Embeddings = NDArray[np.float32]
"""Shape (n, DIMENSION)."""

Codes = NDArray[np.int8]
"""Shape (n, DIMENSION): the stored form of embeddings. Divided by its norm, a row has length 1."""


class Encoding(IntEnum):
    """The encoding of one embedding. The numbers are those of `Encoding` in the .proto."""

    FLOAT32 = 1
    FLOAT16 = 2
    INT8 = 3


INT8_ROW = np.dtype([("scale", "<f4"), ("codes", "i1", (DIMENSION,))])
"""One embedding as INT8: the numbers are `codes` times `scale`."""

ROW_DTYPES: dict[Encoding, np.dtype[np.void]] = {
    Encoding.FLOAT32: np.dtype([("values", "<f4", (DIMENSION,))]),
    Encoding.FLOAT16: np.dtype([("values", "<f2", (DIMENSION,))]),
    Encoding.INT8: INT8_ROW,
}
"""Type of one embedding by encoding, with 1536, 768 and 388 bytes."""

ROW_BYTES: dict[Encoding, int] = {encoding: row.itemsize for encoding, row in ROW_DTYPES.items()}
"""Bytes of one embedding, by encoding."""


def decode(data: bytes, encoding: Encoding) -> Embeddings:
    """Return the encoded embeddings, shape (n, DIMENSION). They may be of any norm or not finite.

    Raises ValueError when `data` is not a whole number of rows.
    """
    rows = np.frombuffer(data, dtype=ROW_DTYPES[encoding])
    if encoding is Encoding.INT8:
        scaled: Embeddings = rows["codes"] * rows["scale"][:, None]
        return scaled
    values: Embeddings = rows["values"].astype(np.float32)
    return values


def encode(embeddings: Embeddings, encoding: Encoding) -> bytes:
    """Return embeddings, shape (n, DIMENSION), as bytes. They must be finite."""
    if encoding is Encoding.INT8:
        codes, scales = quantise(embeddings)
        return pack_int8(codes, scales)
    return embeddings.astype(ROW_DTYPES[encoding]["values"].base).tobytes()


def pack_int8(codes: Codes, scales: NDArray[np.float32]) -> bytes:
    """Return codes, shape (n, DIMENSION), and their scales, shape (n,), as INT8 rows."""
    rows = np.empty(len(codes), dtype=INT8_ROW)
    rows["scale"] = scales
    rows["codes"] = codes
    return rows.tobytes()


def quantise(embeddings: Embeddings) -> tuple[Codes, NDArray[np.float32]]:
    """Return symmetric INT8 codes, shape (n, DIMENSION), and the scale of each row, shape (n,).

    The scale is max |x| / 127. A row of zeros gets codes of zero and the scale 1.
    """
    peaks = np.abs(embeddings).max(axis=1, initial=0.0)
    scales = np.where(peaks > 0, peaks / np.float32(127), np.float32(1)).astype(np.float32)
    codes = np.rint(embeddings / scales[:, None]).astype(np.int8)
    return codes, scales


def unit_scales(codes: Codes) -> NDArray[np.float32]:
    """Return the factors that give each row of codes unit length, shape (n,).

    The factor of a row of zeros is infinite. The norm is summed in integers, so every machine gets
    the same bits.
    """
    squares = np.empty(len(codes), np.int32)
    for start in range(0, len(codes), _BLOCK_ROWS):  # a whole catalogue would take four times it
        wide = codes[start : start + _BLOCK_ROWS].astype(np.int32)
        squares[start : start + _BLOCK_ROWS] = np.einsum("ij,ij->i", wide, wide)
    with np.errstate(divide="ignore"):
        scales: NDArray[np.float32] = (1.0 / np.sqrt(squares.astype(np.float64))).astype(np.float32)
    return scales


def normalise_codes(codes: Codes) -> Embeddings:
    """Return the unit-length embeddings of codes, both of shape (n, DIMENSION)."""
    embeddings: Embeddings = codes * unit_scales(codes)[:, None]
    return embeddings


def encode_codes(codes: Codes, encoding: Encoding) -> bytes:
    """Return stored codes, shape (n, DIMENSION), as the bytes of unit-length embeddings."""
    if encoding is Encoding.INT8:
        return pack_int8(codes, unit_scales(codes))
    return encode(normalise_codes(codes), encoding)
