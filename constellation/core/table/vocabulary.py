"""Words: genres and content ids as the small numbers that pattern rows hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.core.rows import WordKind
from constellation.core.store import Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LIMITS: Final = {WordKind.GENRE: 2**16 - 1, WordKind.CONTENT: 2_000_000}
"""Words of each kind a shard can hold; a pattern that needs more is rejected SHARD_FULL."""


class Words:
    """Every word of one shard. Numbers run from 1; 0 in a row means none."""

    def __init__(self, words: Iterable[Word] = ()) -> None:
        self._numbers: dict[WordKind, dict[str, int]] = {kind: {} for kind in WordKind}
        self._texts: dict[WordKind, list[str]] = {kind: [""] for kind in WordKind}
        self.add(words)

    def add(self, words: Iterable[Word]) -> None:
        """Add words in the order of their numbers."""
        for word in words:
            texts = self._texts[word.kind]
            assert word.number == len(texts), f"word {word.number} after {len(texts) - 1}"
            texts.append(word.text)
            self._numbers[word.kind][word.text] = word.number

    def count(self, kind: WordKind) -> int:
        """Return how many words of a kind there are; also the highest number."""
        return len(self._texts[kind]) - 1

    def number(self, kind: WordKind, text: str) -> int:
        """Return a word's number, 0 when it is not known."""
        return self._numbers[kind].get(text, 0)

    def text(self, kind: WordKind, number: int) -> str:
        return self._texts[kind][number]


class NewWords:
    """The words one commit adds; the shard's own words learn them only once it is durable."""

    def __init__(self, known: Words) -> None:
        self._known = known
        self._added: dict[tuple[WordKind, str], int] = {}
        self._next = {kind: known.count(kind) + 1 for kind in WordKind}

    def numbers(self, kind: WordKind, texts: Sequence[str]) -> list[int]:
        """Return the number of each text, adding those that are new; 0 once the limit is met."""
        return [self._known.number(kind, text) or self._add(kind, text) for text in texts]

    def words(self) -> list[Word]:
        """Return what was added, in the order of the numbers."""
        return [Word(kind, number, text) for (kind, text), number in self._added.items()]

    def _add(self, kind: WordKind, text: str) -> int:
        number = self._added.get((kind, text), 0)
        if not number and self._next[kind] <= LIMITS[kind]:
            number = self._added[kind, text] = self._next[kind]
            self._next[kind] += 1
        return number
