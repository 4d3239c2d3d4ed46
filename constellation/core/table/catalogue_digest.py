"""CatalogueDigest: the sum of the hashes of all content items and terms, kept as a proof."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import DIGEST_MODULUS, TermKind, reserve
from constellation.core.table.catalogue_buckets import CatalogueEntries, compute_key
from constellation.core.table.vocabulary import TERM_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from constellation.core.store import Content, Term
    from constellation.core.table.vocabulary import Vocabulary


class CatalogueDigest:
    """The hashes of a shard's content items and terms, as read at its start or written since.

    Memory remembers them, so that a new item takes the place of the one that was written, whatever
    the store has made of that one meanwhile: adding a damaged item again makes the sum right.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.total = 0
        """The sum of all hashes modulo DIGEST_MODULUS, whose order does not matter."""
        self._vocabulary = vocabulary
        self._by_number: NDArray[np.uint64] = reserve(
            TERM_LIMITS[TermKind.CONTENT] + 1, np.dtype("<u8")
        )
        """By content number; 0 for none."""
        self._unnumbered: dict[str, int] = {}
        """By content id: those beyond the limit of terms."""
        self.content_total = 0
        """The sum of the hashes of the content items alone: the digest that devices compare."""
        self._keys: NDArray[np.uint32] = reserve(TERM_LIMITS[TermKind.CONTENT] + 1, np.dtype("<u4"))
        """By content number: what decides the bucket of the content item."""

    def add(self, contents: Iterable[Content]) -> None:
        """Take in content items that are stored; those of known ids replace the earlier ones."""
        for content in contents:
            digest = digest_content(content)
            change = digest - self._find(content.content_id)
            self.total = (self.total + change) % DIGEST_MODULUS
            self.content_total = (self.content_total + change) % DIGEST_MODULUS
            if number := self._vocabulary.number(TermKind.CONTENT, content.content_id):
                self._by_number[number] = digest
                self._keys[number] = compute_key(content.content_id)
            else:
                self._unnumbered[content.content_id] = digest

    def add_terms(self, terms: Iterable[Term]) -> None:
        """Take in new terms."""
        self.total = self.compute_total_with((), terms)

    def list_entries(self) -> CatalogueEntries:
        """Return a copy of the hashes of all content items, with what decides their buckets."""
        count = self._vocabulary.count(TermKind.CONTENT) + 1
        numbers = np.flatnonzero(self._by_number[:count])
        unnumbered = list(self._unnumbered)
        return CatalogueEntries(
            np.append(numbers, np.zeros(len(unnumbered))).astype(np.uint32),
            unnumbered,
            np.append(
                self._keys[numbers], np.array([compute_key(each) for each in unnumbered], np.uint32)
            ),
            np.append(
                self._by_number[numbers], np.array(list(self._unnumbered.values()), np.uint64)
            ),
        )

    def to_content_ids(self, entries: CatalogueEntries, positions: Iterable[int]) -> list[str]:
        """Return the content ids of some entries."""
        first = len(entries) - len(entries.unnumbered)
        return [
            entries.unnumbered[position - first]
            if position >= first
            else self._vocabulary.text(TermKind.CONTENT, int(entries.numbers[position]))
            for position in positions
        ]

    def compute_total_with(self, contents: Iterable[Content], terms: Iterable[Term]) -> int:
        """Return what `total` will be after content items of distinct ids and terms are added."""
        changes = (digest_content(each) - self._find(each.content_id) for each in contents)
        return (self.total + sum(changes) + sum(map(digest_term, terms))) % DIGEST_MODULUS

    def _find(self, content_id: str) -> int:
        number = self._vocabulary.number(TermKind.CONTENT, content_id)
        return int(self._by_number[number]) if number else self._unnumbered.get(content_id, 0)


def digest_content(content: Content) -> int:
    """Return a 64-bit hash of all values of a content item. NUL, which no text has, divides them.

    Their sum is an AdHash, as that of `rows.digest_rows`: it detects accidents, not attacks.
    """
    texts = (
        content.content_id,
        content.title,
        str(content.content_type),
        str(content.year),
        *content.genres,
        "",
    )
    return _digest("\0".join(texts).encode() + content.codes)


def digest_term(term: Term) -> int:
    """Return a 64-bit hash of a term with its number."""
    return _digest(f"{int(term.kind)} {term.number} {term.text}".encode())


def _digest(payload: bytes) -> int:
    return int.from_bytes(blake2b(payload, digest_size=8).digest(), "little")
