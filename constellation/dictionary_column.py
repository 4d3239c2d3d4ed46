"""Dictionary columns: the encoding of a few texts for each row in messages and in the journal.

A column consists of the distinct texts, the number of texts of each row, and the indexes of all
texts, row after row. Genres and content ids of patterns and clusters are encoded like this.
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
    """One byte for each row: the number of its texts, at most 255."""
    indexes: Sequence[int]
    """Indexes into `texts`, row after row. Their number is the sum of `counts`."""


def encode_texts(rows: Iterable[Sequence[str]]) -> DictionaryColumn:
    """Return rows of texts as a column. Raises ValueError when a row has more than 255 texts."""
    rows = list(rows)
    texts = sorted({text for row in rows for text in row})
    positions = {text: position for position, text in enumerate(texts)}
    return DictionaryColumn(
        texts, bytes(map(len, rows)), [positions[text] for row in rows for text in row]
    )


def decode_texts(
    texts: Sequence[str], counts: bytes, indexes: Sequence[int]
) -> list[tuple[str, ...]]:
    """Return the rows of a column. Raises ValueError when its parts do not agree."""
    if sum(counts) != len(indexes):
        raise ValueError(f"has {len(indexes)} indexes, but its counts add up to {sum(counts)}")
    if indexes and max(indexes) >= len(texts):
        raise ValueError(f"has index {max(indexes)} into {len(texts)} texts")
    remaining = iter(indexes)
    return [tuple(texts[index] for index in islice(remaining, count)) for count in counts]
