"""Terms: the genres and content ids that patterns, trends and clusters name; their limits."""

from __future__ import annotations

import re
from typing import Final

MAX_GENRES: Final = 8
"""Genres that a pattern may have."""
MAX_CONTENTS: Final = 16
"""Supporting content ids that a pattern may have."""
TERM_BYTES: Final = 64
"""The longest content id or genre, in bytes of UTF-8."""


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_new_term(text: str) -> str:
    """Return `text` when it may be named from now on: a term without control characters.

    A terminal obeys control characters. Older stores may hold terms with some, so what is only
    looked up, read or merged is checked with `check_term`. Raises ValueError.
    """
    if not text.isprintable() and (found := _CONTROL.search(text)):
        raise ValueError(
            f"must be printable text, got {text!r} with the control character U+{ord(found[0]):04X}"
        )
    return check_term(text)


def check_term(text: str) -> str:
    """Return `text` when it can be stored as a genre or content id; raise ValueError otherwise."""
    if not 0 < len(text) <= TERM_BYTES or len(text.encode()) > TERM_BYTES:
        raise ValueError(f"must be from 1 to {TERM_BYTES} bytes each, got {len(text.encode())}")
    if "\0" in text:  # the one character that PostgreSQL cannot store
        raise ValueError(f"must not hold NUL, got {text!r}")
    return text
