"""Vocabulary: the terms of a shard and the small numbers that stand for them in pattern rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.core.rows import TermKind
from constellation.core.store import Term

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TERM_LIMITS: Final = {TermKind.GENRE: 2**16 - 1, TermKind.CONTENT: 2_000_000}
"""The most terms of each kind; patterns that need more are rejected with SHARD_FULL."""


class Vocabulary:
    """Every term of one shard. Numbers of each kind run from 1; 0 in a row means none."""

    def __init__(self, terms: Iterable[Term] = ()) -> None:
        self._numbers: dict[TermKind, dict[str, int]] = {kind: {} for kind in TermKind}
        self._texts: dict[TermKind, list[str]] = {kind: [""] for kind in TermKind}
        self.add(terms)

    def add(self, terms: Iterable[Term]) -> None:
        """Add terms, whose numbers must continue the present ones."""
        for term in terms:
            texts = self._texts[term.kind]
            assert term.number == len(texts), f"term {term.number} after {len(texts) - 1}"
            texts.append(term.text)
            self._numbers[term.kind][term.text] = term.number

    def count(self, kind: TermKind) -> int:
        """Return the number of terms of a kind, which is also their highest number."""
        return len(self._texts[kind]) - 1

    def number(self, kind: TermKind, text: str) -> int:
        """Return the number of a term, 0 when it is unknown."""
        return self._numbers[kind].get(text, 0)

    def text(self, kind: TermKind, number: int) -> str:
        """Return the term with this number; "" for 0."""
        return self._texts[kind][number]


class PendingTerms:
    """The terms that one commit adds; the vocabulary gets them once the commit is durable.

    `reserved_contents` are numbers that it must leave for content items of the catalogue.
    """

    def __init__(self, known: Vocabulary, *, reserved_contents: int = 0) -> None:
        self._known = known
        self._limits = {
            **TERM_LIMITS,
            TermKind.CONTENT: TERM_LIMITS[TermKind.CONTENT] - reserved_contents,
        }
        self._added: dict[tuple[TermKind, str], int] = {}
        self._next = {kind: known.count(kind) + 1 for kind in TermKind}

    def find_numbers(self, kind: TermKind, texts: Sequence[str]) -> list[int]:
        """Return the number of each term; 0 for new ones, which this does not add."""
        added = self._added
        return [self._known.number(kind, text) or added.get((kind, text), 0) for text in texts]

    def assign_numbers(self, kind: TermKind, texts: Sequence[str]) -> list[int]:
        """Return the number of each term, adding new ones; 0 for terms beyond the limit."""
        return [self._known.number(kind, text) or self._add(kind, text) for text in texts]

    def to_terms(self) -> list[Term]:
        """Return the added terms, in the order of their numbers."""
        return [Term(kind, number, text) for (kind, text), number in self._added.items()]

    def _add(self, kind: TermKind, text: str) -> int:
        number = self._added.get((kind, text), 0)
        if not number and self._next[kind] <= self._limits[kind]:
            number = self._added[kind, text] = self._next[kind]
            self._next[kind] += 1
        return number
