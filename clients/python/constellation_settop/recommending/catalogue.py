"""The catalogue: content items with embeddings, column by column."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from constellation.encoding import DIMENSION, Embeddings
from constellation_settop.errors import InvalidArgumentError
from constellation_settop.values import ContentType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_TERM_BYTES: Final = 64
"""UTF-8 bytes that a content id or a genre may have."""

Rows = NDArray[np.int64]
"""Shape (n,): row numbers in the catalogue."""


class Catalogue:
    """The content items that can be watched. Read-only, so that many devices can share one.

    Example:
        Catalogue(["content-1", "content-2"], embeddings, titles=["Alien", "Brazil"])
    """

    def __init__(
        self,
        content_ids: Sequence[str],
        embeddings: Embeddings,
        *,
        titles: Sequence[str] | None = None,
        genres: Sequence[Sequence[str]] | None = None,
        content_types: Sequence[ContentType] | None = None,
    ) -> None:
        """Build a catalogue from columns with one entry for each content item.

        Args:
            content_ids: distinct ids, from 1 to 64 UTF-8 bytes each.
            embeddings: shape (n, 384), finite and not zero; they are scaled to unit length.
            titles: titles for people, which reasons quote.
            genres: the genres of each content item, from 1 to 64 UTF-8 bytes each.
            content_types: None means that the types are unknown.

        Raises InvalidArgumentError when a column has another length or an entry breaks a rule.
        """
        count = len(content_ids)
        columns = {"titles": titles, "genres": genres, "content_types": content_types}
        for name, column in columns.items():
            if column is not None and len(column) != count:
                raise InvalidArgumentError(
                    f"{name} must have one entry for each of {count} content_ids, got {len(column)}"
                )
        self.content_ids = tuple(content_ids)
        self.embeddings = _normalize_rows(embeddings, count)
        self._titles = titles
        self._genres = genres
        self._content_types = content_types
        for term in {*self.content_ids, *(genre for each in genres or () for genre in each)}:
            if not 1 <= len(term.encode()) <= MAX_TERM_BYTES:
                raise InvalidArgumentError(
                    f"a content id or genre must have 1 to {MAX_TERM_BYTES} bytes, "
                    f"got {len(term.encode())}: {term!r}"
                )
        self._row_by_content_id = {
            content_id: row for row, content_id in enumerate(self.content_ids)
        }
        if len(self._row_by_content_id) != count:
            duplicates = [each for each, uses in Counter(self.content_ids).items() if uses > 1]
            raise InvalidArgumentError(f"content_ids must be distinct, got {duplicates[0]!r} twice")

    def __len__(self) -> int:
        return len(self.content_ids)

    def find_row(self, content_id: str) -> int | None:
        """Return the row of a content item, or None when the catalogue lacks it."""
        return self._row_by_content_id.get(content_id)

    def find_rows(self, content_ids: Iterable[str]) -> Rows:
        """Return the rows of the content items that the catalogue has, in the order given."""
        found = (self._row_by_content_id.get(content_id) for content_id in content_ids)
        return np.fromiter((row for row in found if row is not None), np.int64)

    def title(self, row: int) -> str:
        """Return the title of a content item, or "" when the catalogue has no titles."""
        return self._titles[row] if self._titles is not None else ""

    def genres(self, row: int) -> Sequence[str]:
        """Return the genres of a content item, or none when the catalogue has no genres."""
        return self._genres[row] if self._genres is not None else ()

    def content_type(self, row: int) -> ContentType:
        """Return the type of a content item, or ANY when the catalogue has no types."""
        return self._content_types[row] if self._content_types is not None else ContentType.ANY

    @cached_property
    def mean_embedding(self) -> NDArray[np.float32]:
        """Return the mean of all embeddings, shape (DIMENSION,), or zeros for an empty catalogue.

        Ranking subtracts it, because what all content items share does not tell them apart.
        """
        if not len(self):
            return np.zeros(DIMENSION, np.float32)
        mean: NDArray[np.float32] = self.embeddings.mean(axis=0, dtype=np.float32)
        return mean

    @cached_property
    def centred_embeddings(self) -> Embeddings:
        """Return every embedding as `centre` makes it, shape (n, DIMENSION)."""
        return self.centre(self.embeddings)

    def centre(self, embeddings: Embeddings) -> Embeddings:
        """Return embeddings, shape (n, DIMENSION), less the mean and scaled to unit length.

        Ranking compares these. A row that equals the mean becomes zero.
        """
        shifted = embeddings - self.mean_embedding
        norms = np.linalg.norm(shifted, axis=1, keepdims=True)
        centred: Embeddings = (shifted / np.maximum(norms, 1e-6)).astype(np.float32)
        return centred

    @cached_property
    def rows_by_genre(self) -> Mapping[str, Rows]:
        """Return the rows of the content items of each genre, by genre."""
        rows: dict[str, list[int]] = {}
        for row in range(len(self)):
            for genre in self.genres(row):
                rows.setdefault(genre, []).append(row)
        return {genre: np.array(members, np.int64) for genre, members in rows.items()}


def _normalize_rows(embeddings: Embeddings, count: int) -> Embeddings:
    if embeddings.shape != (count, DIMENSION):
        raise InvalidArgumentError(
            f"embeddings must have shape ({count}, {DIMENSION}), got {embeddings.shape}"
        )
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise InvalidArgumentError("every embedding must be finite and not zero")
    rows: Embeddings = np.ascontiguousarray(embeddings / norms, dtype=np.float32)
    rows.flags.writeable = False
    return rows
