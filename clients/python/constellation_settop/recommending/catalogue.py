"""Content with embeddings, column by column; one catalogue may serve many devices."""

from __future__ import annotations

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
"""UTF-8 bytes in a content id or a genre."""

Rows = NDArray[np.int64]
"""Shape (n,): row numbers in the catalogue."""


class Catalogue:
    """What can be watched. Owns its arrays; they never change."""

    def __init__(
        self,
        content_ids: Sequence[str],
        embeddings: Embeddings,
        *,
        titles: Sequence[str] | None = None,
        genres: Sequence[Sequence[str]] | None = None,
        content_types: Sequence[ContentType] | None = None,
    ) -> None:
        """Take one entry per content in every column; embeddings of any norm but zero."""
        count = len(content_ids)
        for name, column in (("titles", titles), ("genres", genres), ("types", content_types)):
            if column is not None and len(column) != count:
                raise InvalidArgumentError(f"{count} contents but {len(column)} {name}")
        self.content_ids = tuple(content_ids)
        self.embeddings = _normalize_rows(embeddings, count)
        self._titles = titles
        self._genres = genres
        self._content_types = content_types
        for term in {*self.content_ids, *(word for words in genres or () for word in words)}:
            if not 1 <= len(term.encode()) <= MAX_TERM_BYTES:
                raise InvalidArgumentError(f"must be from 1 to {MAX_TERM_BYTES} bytes: {term!r}")
        self._row_by_content_id = {
            content_id: row for row, content_id in enumerate(self.content_ids)
        }
        if len(self._row_by_content_id) != count:
            raise InvalidArgumentError("a content_id is in the catalogue twice")

    def __len__(self) -> int:
        return len(self.content_ids)

    def find_row(self, content_id: str) -> int | None:
        """Return the row of a content, or None."""
        return self._row_by_content_id.get(content_id)

    def find_rows(self, content_ids: Iterable[str]) -> Rows:
        """Return the rows of those contents that are here."""
        found = (self._row_by_content_id.get(content_id) for content_id in content_ids)
        return np.fromiter((row for row in found if row is not None), np.int64)

    def title(self, row: int) -> str:
        """Return a content's title, or "" when the catalogue has none."""
        return self._titles[row] if self._titles is not None else ""

    def genres(self, row: int) -> Sequence[str]:
        return self._genres[row] if self._genres is not None else ()

    def content_type(self, row: int) -> ContentType:
        return self._content_types[row] if self._content_types is not None else ContentType.ANY

    @cached_property
    def mean_embedding(self) -> NDArray[np.float32]:
        """Shape (DIMENSION,): what all contents have in common, and ranking leaves out."""
        if not len(self):
            return np.zeros(DIMENSION, np.float32)
        mean: NDArray[np.float32] = self.embeddings.mean(axis=0, dtype=np.float32)
        return mean

    @cached_property
    def centred_embeddings(self) -> Embeddings:
        """Shape (n, DIMENSION), unit length after the mean was taken away."""
        return self.centre(self.embeddings)

    def centre(self, embeddings: Embeddings) -> Embeddings:
        """Return embeddings (n, DIMENSION) as ranking compares them; a row at the mean is zero."""
        shifted = embeddings - self.mean_embedding
        norms = np.linalg.norm(shifted, axis=1, keepdims=True)
        centred: Embeddings = (shifted / np.maximum(norms, 1e-6)).astype(np.float32)
        return centred

    @cached_property
    def rows_by_genre(self) -> Mapping[str, Rows]:
        """Return which contents have a genre."""
        rows: dict[str, list[int]] = {}
        for row in range(len(self)):
            for genre in self.genres(row):
                rows.setdefault(genre, []).append(row)
        return {genre: np.array(members, np.int64) for genre, members in rows.items()}


def _normalize_rows(embeddings: Embeddings, count: int) -> Embeddings:
    if embeddings.shape != (count, DIMENSION):
        raise InvalidArgumentError(
            f"embeddings must be ({count}, {DIMENSION}), got {embeddings.shape}"
        )
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise InvalidArgumentError("an embedding is zero or not finite")
    rows: Embeddings = np.ascontiguousarray(embeddings / norms, dtype=np.float32)
    rows.flags.writeable = False
    return rows
