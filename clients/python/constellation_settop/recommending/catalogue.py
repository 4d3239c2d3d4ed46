"""The catalogue: content items with embeddings, column by column."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from constellation.encoding import DIMENSION, Codes, Embeddings, quantise, unit_scales
from constellation_settop.errors import InvalidArgumentError
from constellation_settop.recommending.catalogue_columns import (
    BLOCK_ROWS,
    CatalogueColumns,
    build_columns,
    rank_ids,
    to_key,
)
from constellation_settop.recommending.catalogue_file import read_columns, write_columns
from constellation_settop.values import ContentType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_TERM_BYTES: Final = 64
"""UTF-8 bytes that a content id or a genre may have."""

Rows = NDArray[np.int64]
"""Shape (n,): row numbers in the catalogue."""


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """Embeddings less the mean of the catalogue, as INT8: what ranking compares."""

    codes: Codes
    """Shape (n, DIMENSION)."""
    scales: NDArray[np.float32]
    """Shape (n,): with these factors the codes have unit length; 0 for codes of zero."""


class Catalogue:
    """The content items that can be watched. Read-only, so that many devices can share one.

    Embeddings are kept as INT8.

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
        if isinstance(content_ids, str):
            raise InvalidArgumentError(
                f"content_ids must be a sequence of ids, got one: write [{content_ids!r}]"
            )
        count = len(content_ids)
        columns = {"titles": titles, "genres": genres, "content_types": content_types}
        for name, column in columns.items():
            if column is not None and len(column) != count:
                raise InvalidArgumentError(
                    f"{name} must have one entry for each of {count} content_ids, got {len(column)}"
                )
        all_genres = genres or [()] * count
        for each in all_genres:
            if isinstance(each, str):
                raise InvalidArgumentError(
                    f"each entry of genres must be a sequence of genres, got {each!r}"
                )
        _check_terms({*content_ids, *(genre for each in all_genres for genre in each)})
        _check_distinct(content_ids)
        self.columns = build_columns(
            content_ids,
            titles or [""] * count,
            all_genres,
            np.array(content_types if content_types is not None else [0] * count, np.uint8),
            _quantise_rows(embeddings, count),
        )

    @classmethod
    def from_columns(cls, columns: CatalogueColumns) -> Catalogue:
        """Return a catalogue of columns that are known to be valid."""
        catalogue = cls.__new__(cls)
        catalogue.columns = columns
        return catalogue

    @classmethod
    def read(cls, path: Path | str) -> Catalogue:
        """Map a file that `write` made into memory, and return its catalogue.

        The file may be replaced meanwhile, but must not be changed. Raises StorageError when it is
        missing, or when it is no catalogue.
        """
        return cls.from_columns(read_columns(Path(path)))

    def write(self, path: Path | str) -> None:
        """Write the catalogue to a file, which appears whole or not at all.

        Raises StorageError when the disk refuses.
        """
        write_columns(self.columns, Path(path))

    def __len__(self) -> int:
        return len(self.columns.codes)

    @property
    def content_ids(self) -> Sequence[str]:
        """The content id of each row."""
        return self.columns.content_ids

    def find_row(self, content_id: str) -> int | None:
        """Return the row of a content item, or None when the catalogue lacks it."""
        rows = self.find_rows([content_id])
        return int(rows[0]) if len(rows) else None

    def find_rows(self, content_ids: Iterable[str]) -> Rows:
        """Return the rows of the content items that the catalogue has, in the order given."""
        rows = self.find_all_rows(content_ids)
        return rows[rows >= 0]

    def find_all_rows(self, content_ids: Iterable[str]) -> Rows:
        """Return the row of each content item, or -1 for one that the catalogue lacks."""
        keys = np.fromiter((to_key(each) for each in content_ids), np.uint64)
        if not len(self):
            return np.full(len(keys), -1, np.int64)
        places = np.minimum(np.searchsorted(self.columns.keys, keys), len(self) - 1)
        found = self.columns.keys[places] == keys
        return np.where(found, self.columns.key_rows[places], np.int64(-1))

    def title(self, row: int) -> str:
        """Return the title of a content item, or "" when the catalogue has no titles."""
        return self.columns.titles[row]

    def genres(self, row: int) -> Sequence[str]:
        """Return the genres of a content item, or none when the catalogue has no genres."""
        columns = self.columns
        start, end = columns.genre_offsets[row], columns.genre_offsets[row + 1]
        return tuple(columns.genre_names[int(each)] for each in columns.genre_indexes[start:end])

    def content_type(self, row: int) -> ContentType:
        """Return the type of a content item, or ANY when the catalogue has no types."""
        return ContentType(self.columns.content_types[row])

    def embedding(self, row: int) -> NDArray[np.float32]:
        """Return the embedding of a content item, shape (DIMENSION,), with unit length."""
        columns = self.columns
        unit: NDArray[np.float32] = columns.codes[row] * columns.unit_scales[row]
        return unit

    @property
    def embeddings(self) -> Embeddings:
        """Every embedding, shape (n, DIMENSION), with unit length: a new array at each call."""
        units: Embeddings = self.columns.codes * self.columns.unit_scales[:, None]
        return units

    def centre(self, embeddings: Embeddings) -> Directions:
        """Return embeddings, shape (n, DIMENSION), less the mean of the catalogue.

        Ranking subtracts the mean, because what all content items share does not tell them apart.
        """
        columns = self.columns
        codes, _ = quantise(embeddings - columns.mean_codes * columns.mean_scale)
        scales = unit_scales(codes)
        scales[~np.isfinite(scales)] = 0
        return Directions(codes, scales)

    def compute_cosines(self, directions: Directions) -> NDArray[np.int16]:
        """Return the cosine of each direction with each content item less the mean.

        The result has shape (directions, contents), in units of 1/32767; a negative cosine is 0.
        Sums of products of INT8 numbers are exact in float32 here, in any order.
        """
        wide = directions.codes.astype(np.float32).T.copy()
        mean_products = (self.columns.mean_codes.astype(np.float32) @ wide)[0]
        shared = mean_products * self.columns.mean_scale
        cosines = np.empty((len(directions.codes), len(self)), np.int16)
        for start in range(0, len(self), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            products = self.columns.codes[rows].astype(np.float32) @ wide
            products *= self.columns.unit_scales[rows, None]
            products -= shared
            products *= directions.scales
            products *= self.columns.deviation_scales[rows, None]
            cosines[:, rows] = to_fixed_point(products).T
        return cosines

    @cached_property
    def id_ranks(self) -> NDArray[np.int64]:
        """The position of each row when content ids are sorted by their UTF-8 bytes, shape (n,)."""
        return rank_ids(self.columns)

    @cached_property
    def rows_by_genre(self) -> Mapping[str, Rows]:
        """The rows of the content items of each genre, by genre."""
        columns = self.columns
        offsets = columns.genre_offsets.astype(np.int64)
        rows = np.repeat(np.arange(len(self)), offsets[1:] - offsets[:-1])
        order = np.argsort(columns.genre_indexes, kind="stable")
        ends = np.cumsum(np.bincount(columns.genre_indexes, minlength=len(columns.genre_names)))
        groups = np.split(rows[order], ends[:-1]) if len(ends) else []
        return dict(zip(columns.genre_names, groups, strict=True))


def to_fixed_point(cosines: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return cosines in units of 1/32767, rounded half to even; those outside 0 to 1 are cut."""
    fixed: NDArray[np.int16] = np.rint(np.clip(cosines, 0, 1) * np.float32(32767)).astype(np.int16)
    return fixed


def _check_terms(terms: Iterable[str]) -> None:
    for term in terms:
        if not isinstance(term, str):
            raise InvalidArgumentError(f"a content id or genre must be a str, got {term!r}")
        if not 1 <= len(term.encode()) <= MAX_TERM_BYTES:
            raise InvalidArgumentError(
                f"a content id or genre must have 1 to {MAX_TERM_BYTES} bytes, "
                f"got {len(term.encode())}: {term!r}"
            )


def _check_distinct(content_ids: Sequence[str]) -> None:
    duplicates = [each for each, uses in Counter(content_ids).items() if uses > 1]
    if duplicates:
        raise InvalidArgumentError(f"content_ids must be distinct, got {duplicates[0]!r} twice")


def _quantise_rows(embeddings: Embeddings, count: int) -> Codes:
    if not isinstance(embeddings, np.ndarray):
        raise InvalidArgumentError(
            f"embeddings must be a numpy array of shape ({count}, {DIMENSION}), "
            f"got {type(embeddings).__name__}: write np.array(embeddings, np.float32)"
        )
    if embeddings.shape != (count, DIMENSION):
        raise InvalidArgumentError(
            f"embeddings must have shape ({count}, {DIMENSION}), got {embeddings.shape}"
        )
    if embeddings.dtype.kind not in "fiu":
        raise InvalidArgumentError(f"embeddings must be numbers, got {embeddings.dtype}")
    norms = np.linalg.norm(embeddings, axis=1)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise InvalidArgumentError("every embedding must be finite and not zero")
    codes, _ = quantise(np.asarray(embeddings, np.float32))
    codes.flags.writeable = False
    return codes
