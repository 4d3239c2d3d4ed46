"""Convert the API's pattern columns to rows and embeddings, for tables and plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from constellation.dictionary_column import decode_texts
from constellation.encoding import ID_BYTES, Embeddings, Encoding, decode
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONTEXT_ENUMS: Final = (
    (pb.TimeOfDay, "TIME_OF_DAY_"),
    (pb.DayType, "DAY_TYPE_"),
    (pb.ContentType, "CONTENT_TYPE_"),
)


@dataclass(frozen=True, slots=True)
class PatternRow:
    """One pattern or cluster without its embedding."""

    pattern_id: str
    """32 hex digits."""
    success_rate: float
    """From 0 to 1."""
    sample_count: int
    """Views of a pattern, devices of a cluster."""
    context: str
    """Time of day, type of day and content type in words; empty when it applies in any context."""
    updated_at: int
    """Seconds since 1970, UTC; 0 when unknown."""
    genres: Sequence[str]
    content_ids: Sequence[str]


def to_rows(columns: pb.PatternColumns) -> list[PatternRow]:
    """Return one row per pattern, in the order of the columns."""
    genres = decode_texts(columns.genres, columns.genre_counts, columns.genre_indexes)
    contents = decode_texts(columns.content_ids, columns.content_counts, columns.content_indexes)
    return [
        PatternRow(
            pattern_id=columns.ids[position * ID_BYTES : (position + 1) * ID_BYTES].hex(),
            success_rate=success_rate,
            sample_count=columns.sample_counts[position],
            context=_format_context(columns, position),
            updated_at=columns.updated_at[position] if columns.updated_at else 0,
            genres=genres[position] if genres else (),
            content_ids=contents[position] if contents else (),
        )
        for position, success_rate in enumerate(columns.success_rates)
    ]


def to_embeddings(columns: pb.PatternColumns) -> Embeddings:
    """Return the embeddings of the patterns, shape (n, DIMENSION), each of unit length."""
    embeddings = decode(columns.embeddings, Encoding(columns.encoding))
    unit: Embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit


def format_content_type(content_type: int) -> str:
    """Return the word for a content type: movie, episode, live or clip."""
    return _format_enum(pb.ContentType, "CONTENT_TYPE_", content_type)


def _format_context(columns: pb.PatternColumns, position: int) -> str:
    context_columns = (columns.times_of_day, columns.day_types, columns.content_types)
    return ", ".join(
        _format_enum(kind, prefix, column[position])
        for (kind, prefix), column in zip(_CONTEXT_ENUMS, context_columns, strict=True)
        if column and column[position]
    )


def _format_enum(kind: Any, prefix: str, number: int) -> str:
    name: str = kind.Name(number)
    return name.removeprefix(prefix).lower()
