"""Columns: patterns as they came, for tables and plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from constellation.encoding import ID_BYTES, Embeddings, Encoding, decode
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARTS: Final = (
    (pb.TimeOfDay, "TIME_OF_DAY_"),
    (pb.DayType, "DAY_TYPE_"),
    (pb.ContentType, "CONTENT_TYPE_"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One pattern, or one cluster, without its embedding."""

    pattern_id: str
    """Hex."""
    success_rate: float
    sample_count: int
    context: str
    """In words; empty when it holds always and for everything."""
    updated_at: int
    """Seconds since 1970."""
    genres: Sequence[str]
    content_ids: Sequence[str]


def to_rows(columns: pb.PatternColumns) -> list[Row]:
    """Return what people read of each pattern, in the order it came in."""
    genres = _words(columns.genres, columns.genre_counts, columns.genre_indexes)
    contents = _words(columns.content_ids, columns.content_counts, columns.content_indexes)
    return [
        Row(
            pattern_id=columns.ids[place * ID_BYTES : (place + 1) * ID_BYTES].hex(),
            success_rate=success_rate,
            sample_count=columns.sample_counts[place],
            context=_context(columns, place),
            updated_at=columns.updated_at[place] if columns.updated_at else 0,
            genres=genres[place] if genres else (),
            content_ids=contents[place] if contents else (),
        )
        for place, success_rate in enumerate(columns.success_rates)
    ]


def to_embeddings(columns: pb.PatternColumns) -> Embeddings:
    """Return the patterns' embeddings, shape (n, DIMENSION), unit length."""
    embeddings = decode(columns.embeddings, Encoding(columns.encoding))
    unit: Embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit


def content_type_word(content_type: int) -> str:
    """Return a content type as people write it: movie, episode, live, clip."""
    return _word(pb.ContentType, "CONTENT_TYPE_", content_type)


def _words(words: Sequence[str], counts: bytes, indexes: Sequence[int]) -> list[list[str]]:
    ends = np.cumsum(np.frombuffer(counts, np.uint8), dtype=np.int64).tolist()
    return [
        [words[index] for index in indexes[start:end]]
        for start, end in zip([0, *ends], ends, strict=False)
    ]


def _context(columns: pb.PatternColumns, place: int) -> str:
    sent = (columns.times_of_day, columns.day_types, columns.content_types)
    return ", ".join(
        _word(kind, prefix, column[place])
        for (kind, prefix), column in zip(_PARTS, sent, strict=True)
        if column and column[place]
    )


def _word(kind: Any, prefix: str, number: int) -> str:
    name: str = kind.Name(number)
    return name.removeprefix(prefix).lower()
