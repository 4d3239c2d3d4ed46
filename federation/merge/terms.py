"""Names: content ids and genres as numbers, the same in the aggregate of every shard."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.terms import check_term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.federated.aggregate import ClusterRows, ClusterTerms
    from constellation.federated.fixed_point import Integers


class TermDictionary:
    """Texts of one kind, numbered as they are met. No result may depend on the numbers' order.

    Several threads may number texts.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self.texts: list[str] = []
        self._number_of: dict[str, int] = {}
        self._lock = threading.Lock()

    def intern(self, texts: Sequence[str]) -> Integers:
        """Return the number of each text, adding those that are new.

        Raises ValueError for a text that is no genre or content id, or one too many.
        """
        numbers = [self._number_of.get(text, -1) for text in texts]
        if -1 in numbers:
            self._add([text for text, number in zip(texts, numbers, strict=True) if number < 0])
            numbers = [self._number_of[text] for text in texts]
        return np.array(numbers, np.int64)

    def intern_counts(self, counts: ClusterTerms) -> ClusterTerms:
        """Return counts whose words are numbers of ours. Raises ValueError as `numbers` does."""
        numbers = self.intern(counts.texts)
        return replace(
            counts, terms=numbers[counts.terms] if len(numbers) else counts.terms, texts=self.texts
        )

    def rank(self, numbers: Integers) -> Integers:
        """Return the place of each number's text among those given, in the order of the texts."""
        distinct, which = np.unique(numbers, return_inverse=True)
        order = sorted(range(len(distinct)), key=lambda position: self.texts[distinct[position]])
        ranks = np.empty(len(distinct), np.int64)
        ranks[order] = np.arange(len(distinct))
        text_ranks: Integers = ranks[which]
        return text_ranks

    def to_texts(self, numbers: Integers) -> Sequence[str]:
        return [self.texts[number] for number in numbers.tolist()]

    def _add(self, texts: Sequence[str]) -> None:
        with self._lock:
            for text in texts:
                if text in self._number_of:
                    continue
                if len(self.texts) == self._limit:
                    raise ValueError(f"must be at most {self._limit} in one answer")
                self.texts.append(check_term(text))
                self._number_of[text] = len(self.texts) - 1


def intern_rows(rows: ClusterRows, contents: TermDictionary, genres: TermDictionary) -> ClusterRows:
    """Return clusters whose words are numbers of ours. Raises ValueError as `numbers` does."""
    return replace(
        rows,
        genres=genres.intern_counts(rows.genres),
        contents=contents.intern_counts(rows.contents),
    )
