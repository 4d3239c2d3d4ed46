"""The differences between pgvector and RuVector in SQL and in the encoding of embeddings.

Both extensions store an embedding as its INT8 codes. Both types represent these exactly, so reads
return the same bits as were written. A cosine does not depend on the scale of the codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from constellation.encoding import DIMENSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Codes

_ALL_CODES: Final = np.arange(256, dtype=np.uint8).view(np.int8)
"""Every code, at the index that has the same bits."""
_TO_HALF: Final = _ALL_CODES.astype(">f2").view(np.uint16)
_FROM_HALF: Final = np.zeros(2**16, np.int8)
_FROM_HALF[_TO_HALF] = _ALL_CODES
_HALF_VECTOR: Final = np.dtype(
    [("dimension", ">i2"), ("unused", ">i2"), ("values", "<u2", (DIMENSION,))]
)
"""The binary form of a halfvec: see halfvec_recv and halfvec_send in pgvector's halfvec.c.

Its values are big-endian. They are read and written as raw 16-bit patterns through the two tables.
"""
_TEXT_VECTOR: Final = np.dtype(
    [("open", "S1"), ("values", [("code", "S4"), ("after", "S1")], (DIMENSION,))]
)
"""A text literal with the same width for every embedding: "[0001,-127,…]"."""
_TO_TEXT: Final = np.array([f"{code:04d}" for code in _ALL_CODES.tolist()], "S4")


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One vector extension: its SQL types and expressions. Both have the cosine operator `<=>`."""

    extension: str
    """Name of the extension in pg_extension."""
    vector_type: str
    """SQL type of a column of embeddings, with its dimension."""
    staging_type: str
    """SQL type of an embedding in the staging table."""
    cast: str
    """SQL suffix that casts `staging_type` to `vector_type`; empty if they are the same."""
    copy_dtype: np.dtype[np.generic]
    """Type of one embedding in a binary COPY."""
    encode: Callable[[Codes], NDArray[np.void]]
    """Converts codes, shape (n, DIMENSION), to `copy_dtype`, shape (n,)."""
    row_expression: str
    """SQL expression of one column `embedding`. `decode` takes a list of its values."""
    aggregate_expression: str
    """SQL aggregate of the column `embedding` over several rows. `decode` takes its value."""
    decode: Callable[[Any], Codes]
    """Converts values of `aggregate_expression` or `row_expression` to codes.

    Raises ValueError when a value does not have DIMENSION numbers.
    """
    minimum_version: tuple[int, ...] = ()
    """The first version that works, or () when every version does."""

    def to_literal(self, codes: bytes) -> str:
        """Return one embedding as a text literal of `vector_type`."""
        return str(np.frombuffer(codes, np.int8).tolist())


def _to_halves(codes: Codes) -> NDArray[np.void]:
    wire = np.empty(len(codes), _HALF_VECTOR)
    wire["dimension"], wire["unused"] = DIMENSION, 0
    wire["values"] = _TO_HALF[codes.view(np.uint8)]
    return wire


def _from_halves(data: bytes | Sequence[bytes]) -> Codes:
    wire = np.frombuffer(data if isinstance(data, bytes) else b"".join(data), _HALF_VECTOR)
    if (wire["dimension"] != DIMENSION).any():
        raise ValueError(f"an embedding does not have {DIMENSION} numbers")
    codes: Codes = _FROM_HALF[wire["values"]]
    return codes


def _to_texts(codes: Codes) -> NDArray[np.void]:
    wire = np.empty(len(codes), _TEXT_VECTOR)
    wire["open"] = b"["
    wire["values"]["code"] = _TO_TEXT[codes.view(np.uint8)]
    wire["values"]["after"] = b","
    wire["values"]["after"][:, -1] = b"]"
    return wire


def _from_texts(texts: Sequence[str]) -> Codes:
    """Read text literals, because RuVector has no stable binary form."""
    numbers = np.fromstring(",".join(text.strip("[]") for text in texts), np.float32, sep=",")
    if len(numbers) != len(texts) * DIMENSION:
        raise ValueError(f"an embedding does not have {DIMENSION} numbers")
    return numbers.reshape(-1, DIMENSION).astype(np.int8)


PGVECTOR: Final = Dialect(
    extension="vector",
    vector_type=f"halfvec({DIMENSION})",
    staging_type=f"halfvec({DIMENSION})",
    cast="",
    copy_dtype=_HALF_VECTOR,
    encode=_to_halves,
    row_expression="halfvec_send(embedding)",
    aggregate_expression="string_agg(halfvec_send(embedding), ''::bytea)",
    decode=_from_halves,
    minimum_version=(0, 7),
)
RUVECTOR: Final = Dialect(
    extension="ruvector",
    vector_type=f"ruvector({DIMENSION})",
    staging_type="text",
    cast=f"::ruvector({DIMENSION})",
    copy_dtype=_TEXT_VECTOR,
    encode=_to_texts,
    row_expression="embedding::text",
    aggregate_expression="array_agg(embedding::text)",
    decode=_from_texts,
)
DIALECTS: Final[Mapping[str, Dialect]] = {"pgvector": PGVECTOR, "ruvector": RUVECTOR}
