"""Content items as rows of an SQL table: the columns and their order, the same in every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from constellation.core.store import Content

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENT_COLUMNS: Final = "content_id, title, content_type, genres, year"
"""The columns of `encode_content` and `decode_content`, as SQL lists them.

The embedding is the last column. Its name and form depend on the store.
"""


def encode_content(content: Content, genres: object, embedding: object) -> tuple[object, ...]:
    """Return a row of CONTENT_COLUMNS and the embedding.

    `genres` and `embedding` are the forms in which the database stores these two columns.
    """
    return (
        content.content_id,
        content.title,
        content.content_type,
        genres,
        content.year,
        embedding,
    )


def decode_content(row: tuple[Any, ...], genres: Iterable[str], codes: bytes) -> Content:
    """Return the content item of a row of CONTENT_COLUMNS and the embedding.

    `genres` and `codes` are the decoded forms of the two columns whose form depends on the store.
    """
    content_id, title, content_type, _, year, _ = row
    return Content(content_id, title, content_type, tuple(genres), year, codes)
