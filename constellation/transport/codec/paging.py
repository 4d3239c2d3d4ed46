"""Paging: page tokens are places in an order."""

from __future__ import annotations

from typing import Final

from constellation.errors import InvalidInputError

_MAX_DIGITS: Final = 18
"""Of the largest place: it fits into 64 bits."""


def to_position(page_token: str) -> int:
    """Return the place a page begins at, 0 for the first page; raises InvalidInputError."""
    if not page_token:
        return 0
    if not page_token.isascii() or not page_token.isdigit() or len(page_token) > _MAX_DIGITS:
        raise InvalidInputError(
            "page_token", f"must be the next_page_token of an answer, got {page_token[:40]!r}"
        )
    return int(page_token)
