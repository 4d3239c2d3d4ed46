"""Page tokens: the decimal position in an ordered list at which a page begins."""

from __future__ import annotations

from typing import Final

from constellation.errors import InvalidInputError

_MAX_DIGITS: Final = 18
"""The most digits of a position, so that it fits into a signed 64-bit integer."""


def to_position(page_token: str) -> int:
    """Return the position at which a page begins; 0 for an empty token, which is the first page.

    Raises InvalidInputError for a text that no server has returned as `next_page_token`.
    """
    if not page_token:
        return 0
    if not page_token.isascii() or not page_token.isdigit() or len(page_token) > _MAX_DIGITS:
        raise InvalidInputError(
            "page_token", f"must be the next_page_token of an answer, got {page_token[:40]!r}"
        )
    return int(page_token)
