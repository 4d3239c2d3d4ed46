"""Terms: the genres and content ids that patterns, trends and clusters name; their limits."""

from __future__ import annotations

from typing import Final

MAX_GENRES: Final = 8
"""Genres that a pattern may have."""
MAX_CONTENTS: Final = 16
"""Supporting content ids that a pattern may have."""
TERM_BYTES: Final = 64
"""The longest content id or genre, in bytes of UTF-8."""


def check_term(text: str) -> str:
    """Return `text` when it can be stored as a genre or content id; raise ValueError otherwise."""
    if not 0 < len(text) <= TERM_BYTES or len(text.encode()) > TERM_BYTES:
        raise ValueError(f"must be from 1 to {TERM_BYTES} bytes each, got {len(text.encode())}")
    if "\0" in text:  # the one character that PostgreSQL cannot store
        raise ValueError(f"must not hold NUL, got {text!r}")
    return text
