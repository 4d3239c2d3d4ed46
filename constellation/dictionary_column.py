"""Dictionary columns: a few texts for each row, as the wire and the journal carry them.

A column is the distinct texts, how many of them each row has, and their indexes, one row after the
other. Genres and content ids of patterns and clusters travel like this.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class DictionaryColumn:
    """The three parts of an encoded column."""

    texts: Sequence[str]
    """Distinct, in ascending order."""
    counts: bytes
    """One for each row: how many texts it has, at most 255."""
    indexes: Sequence[int]
    """Indexes into `texts`; as many as `counts` add up to."""


def encode_texts(rows: Iterable[Sequence[str]]) -> DictionaryColumn:
    """Return the column of some rows of texts."""
    rows = list(rows)
    texts = sorted({text for row in rows for text in row})
    positions = {text: position for position, text in enumerate(texts)}
    return DictionaryColumn(
        texts, bytes(map(len, rows)), [positions[text] for row in rows for text in row]
    )


def decode_texts(
    texts: Sequence[str], counts: bytes, indexes: Sequence[int]
) -> list[tuple[str, ...]]:
    """Return the rows of a column. Raises ValueError when its parts do not fit together."""
    if sum(counts) != len(indexes):
        raise ValueError(f"has {len(indexes)} indexes, but its counts add up to {sum(counts)}")
    if indexes and max(indexes) >= len(texts):
        raise ValueError(f"has index {max(indexes)} into {len(texts)} texts")
    remaining = iter(indexes)
    return [tuple(texts[index] for index in islice(remaining, count)) for count in counts]
