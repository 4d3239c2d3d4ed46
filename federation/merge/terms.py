"""Numbers for content ids and genres, the same numbers in the aggregates of all shards."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.terms import check_term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.federated.aggregate import ClusterRows, ClusterTerms
    from constellation.federated.fixed_point import Integers


class TermDictionary:
    """Texts of one kind, numbered from 0 in the order in which they first appear.

    That order depends on which shard answered first, so no result may depend on it. Several
    threads may add texts at the same time.
    """

    def __init__(self, limit: int | None = None) -> None:
        """Create an empty dictionary of at most `limit` texts; None sets no limit."""
        self.texts: list[str] = []
        """The text of each number."""
        self._limit = limit
        self._number_of: dict[str, int] = {}
        self._lock = threading.Lock()

    def intern(self, texts: Sequence[str]) -> Integers:
        """Return the number of each text; add the texts that are new.

        Raises ValueError if a text is not a valid genre or content id, or if the dictionary is
        full.
        """
        numbers = [self._number_of.get(text, -1) for text in texts]
        if -1 in numbers:
            self._add([text for text, number in zip(texts, numbers, strict=True) if number < 0])
            numbers = [self._number_of[text] for text in texts]
        return np.array(numbers, np.int64)

    def find(self, texts: Sequence[str]) -> Integers:
        """Return the number of each text; -1 for a text that has none."""
        return np.array([self._number_of.get(text, -1) for text in texts], np.int64)

    def intern_counts(self, counts: ClusterTerms) -> ClusterTerms:
        """Return the same counts with terms numbered by this dictionary.

        Raises ValueError as `intern` does.
        """
        numbers = self.intern(counts.texts)
        return replace(
            counts, terms=numbers[counts.terms] if len(numbers) else counts.terms, texts=self.texts
        )

    def rank(self, numbers: Integers) -> Integers:
        """Return the alphabetical rank, from 0, of each number's text among the given ones."""
        distinct, which = np.unique(numbers, return_inverse=True)
        order = sorted(range(len(distinct)), key=lambda position: self.texts[distinct[position]])
        ranks = np.empty(len(distinct), np.int64)
        ranks[order] = np.arange(len(distinct))
        text_ranks: Integers = ranks[which]
        return text_ranks

    def to_texts(self, numbers: Integers) -> Sequence[str]:
        """Return the text of each number."""
        return [self.texts[number] for number in numbers.tolist()]

    def _add(self, texts: Sequence[str]) -> None:
        with self._lock:
            for text in texts:
                if text in self._number_of:
                    continue
                if len(self.texts) == self._limit:
                    raise ValueError(
                        f"must be one of at most {self._limit} different ones in an answer"
                    )
                self.texts.append(check_term(text))
                self._number_of[text] = len(self.texts) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The two dictionaries that number the terms of an aggregate."""

    contents: TermDictionary
    genres: TermDictionary

    @classmethod
    def empty(cls, limit: int | None = None) -> Terms:
        """Return two empty dictionaries, each of at most `limit` texts."""
        return cls(TermDictionary(limit), TermDictionary(limit))

    def intern_rows(self, rows: ClusterRows) -> ClusterRows:
        """Return the same clusters with terms numbered by these dictionaries.

        Raises ValueError as `TermDictionary.intern` does.
        """
        return replace(
            rows,
            genres=self.genres.intern_counts(rows.genres),
            contents=self.contents.intern_counts(rows.contents),
        )


def encode_genres(numbers: Integers) -> Integers:
    """Return the subjects that stand for these genre numbers: -1, -2, -3 and so on.

    A subject of hourly counts is a content item or a genre. The subject of a content item is its
    number, which is never negative.
    """
    return -1 - numbers


def decode_genres(subjects: Integers) -> Integers:
    """Return the genre numbers of negative subjects; the inverse of `encode_genres`."""
    return -1 - subjects
