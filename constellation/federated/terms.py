"""Terms: the genres and content ids that patterns, trends and clusters name."""

from __future__ import annotations

from typing import Final


def check_term(text: str) -> str:
    """Return a genre or a content id that can be stored; raise ValueError for another."""
    if not 0 < len(text) <= TERM_BYTES or len(text.encode()) > TERM_BYTES:
        raise ValueError(f"must be from 1 to {TERM_BYTES} bytes each, got {len(text.encode())}")
    if "\0" in text:  # PostgreSQL stores every character but this one
        raise ValueError(f"must not hold NUL, got {text!r}")
    return text


MAX_GENRES: Final = 8
"""Genres a pattern may have."""


MAX_CONTENTS: Final = 16
"""Supporting contents a pattern may have."""


TERM_BYTES: Final = 64
"""UTF-8 bytes in a content id or a genre, at most."""
