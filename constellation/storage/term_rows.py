"""Terms as every database stores them: one row each, numbered without gaps within a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.core.rows import TermKind
from constellation.core.store import Term

if TYPE_CHECKING:
    from collections.abc import Iterable


def decode_terms(rows: Iterable[tuple[int, int, str]]) -> list[Term]:
    """Return the terms of rows (kind, number, text) in their order.

    Raises ValueError for a kind that does not exist, and when a number is missing.
    """
    terms = []
    last = dict.fromkeys(TermKind, 0)
    for kind, number, text in rows:
        term = Term(TermKind(kind), number, text)
        if number != last[term.kind] + 1:
            raise ValueError(
                f"{term.kind.name.lower()} term {number} follows term {last[term.kind]}"
            )
        last[term.kind] = number
        terms.append(term)
    return terms
