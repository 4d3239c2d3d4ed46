"""The differences between pgvector and RuVector in SQL and in the encoding of embeddings.

Both extensions store an embedding as its INT8 codes. Both types represent these exactly, so reads
return the same bits as were written. A cosine does not depend on the scale of the codes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from psycopg import sql

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
    """One vector extension: its SQL types and expressions. Both have the cosine operator `<=>`.

    The names of the extension are found through the search_path until `qualify` says their schema.
    """

    extension: str
    """Name of the extension in pg_extension."""
    type_name: str
    """Name of the type of embeddings, without its schema and its dimension."""
    is_staged_as_text: bool
    """Whether the staging table has embeddings as text, because the type has no binary form."""
    copy_dtype: np.dtype[np.generic]
    """Type of one embedding in a binary COPY."""
    encode: Callable[[Codes], NDArray[np.void]]
    """Converts codes, shape (n, DIMENSION), to `copy_dtype`, shape (n,)."""
    row_template: str
    """`row_expression`, with {schema} before each name of the extension."""
    aggregate_template: str
    """`aggregate_expression`, likewise."""
    decode: Callable[[Any], Codes]
    """Converts values of `aggregate_expression` or `row_expression` to codes.

    Raises ValueError when a value does not have DIMENSION numbers.
    """
    minimum_version: tuple[int, ...] = ()
    """The first version that works, or () when every version does."""
    schema: str = ""
    """Schema of the extension's names, as SQL with a dot after it; empty before `qualify`."""

    def qualify(self, schema: str) -> Dialect:
        """Return this dialect with names that are found whatever the search_path is.

        A role or a database may have any search_path, and behind a pooler no session keeps one.
        """
        return replace(self, schema=f"{sql.Identifier(schema).as_string(None)}.")

    @property
    def column_type(self) -> str:
        """SQL type of a column of embeddings with its dimension, without its schema."""
        return f"{self.type_name}({DIMENSION})"

    @property
    def vector_type(self) -> str:
        """SQL type of a column of embeddings, with its dimension."""
        return f"{self.schema}{self.column_type}"

    @property
    def staging_type(self) -> str:
        """SQL type of an embedding in the staging table."""
        return "text" if self.is_staged_as_text else self.vector_type

    @property
    def cast(self) -> str:
        """SQL suffix that casts `staging_type` to `vector_type`; empty if they are the same."""
        return f"::{self.vector_type}" if self.is_staged_as_text else ""

    @property
    def row_expression(self) -> str:
        """SQL expression of one column `embedding`. `decode` takes a list of its values."""
        return self.row_template.replace("{schema}", self.schema)

    @property
    def aggregate_expression(self) -> str:
        """SQL aggregate of the column `embedding` over several rows. `decode` takes its value."""
        return self.aggregate_template.replace("{schema}", self.schema)

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
    type_name="halfvec",
    is_staged_as_text=False,
    copy_dtype=_HALF_VECTOR,
    encode=_to_halves,
    row_template="{schema}halfvec_send(embedding)",
    aggregate_template="string_agg({schema}halfvec_send(embedding), ''::bytea)",
    decode=_from_halves,
    minimum_version=(0, 7),
)
RUVECTOR: Final = Dialect(
    extension="ruvector",
    type_name="ruvector",
    is_staged_as_text=True,
    copy_dtype=_TEXT_VECTOR,
    encode=_to_texts,
    row_template="embedding::text",
    aggregate_template="array_agg(embedding::text)",
    decode=_from_texts,
)
DIALECTS: Final[Mapping[str, Dialect]] = {"pgvector": PGVECTOR, "ruvector": RUVECTOR}
