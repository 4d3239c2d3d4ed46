"""Names: content ids and genres as numbers, the same in the aggregate of every shard."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.terms import check_word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.federated.aggregate import ClusterRows, WordCounts
    from constellation.federated.fixed_point import Integers


class Names:
    """Texts of one kind, numbered as they are met. No result may depend on the numbers' order.

    Several threads may number texts.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._adding = threading.Lock()

    def numbers(self, texts: Sequence[str]) -> Integers:
        """Return the number of each text, adding those that are new.

        Raises ValueError for a text that is no genre or content id, or one too many.
        """
        numbers = [self._numbers.get(text, -1) for text in texts]
        if -1 in numbers:
            self._add([text for text, number in zip(texts, numbers, strict=True) if number < 0])
            numbers = [self._numbers[text] for text in texts]
        return np.array(numbers, np.int64)

    def interned(self, words: WordCounts) -> WordCounts:
        """Return counts whose words are numbers of ours. Raises ValueError as `numbers` does."""
        numbers = self.numbers(words.texts)
        return replace(
            words, words=numbers[words.words] if len(numbers) else words.words, texts=self.texts
        )

    def ranks(self, numbers: Integers) -> Integers:
        """Return the place of each number's text among those given, in the order of the texts."""
        distinct, which = np.unique(numbers, return_inverse=True)
        order = sorted(range(len(distinct)), key=lambda place: self.texts[distinct[place]])
        ranks = np.empty(len(distinct), np.int64)
        ranks[order] = np.arange(len(distinct))
        places: Integers = ranks[which]
        return places

    def of(self, numbers: Integers) -> Sequence[str]:
        return [self.texts[number] for number in numbers.tolist()]

    def _add(self, texts: Sequence[str]) -> None:
        with self._adding:
            for text in texts:
                if text in self._numbers:
                    continue
                if len(self.texts) == self._limit:
                    raise ValueError(f"must be at most {self._limit} in one answer")
                self.texts.append(check_word(text))
                self._numbers[text] = len(self.texts) - 1


def interned(rows: ClusterRows, contents: Names, genres: Names) -> ClusterRows:
    """Return clusters whose words are numbers of ours. Raises ValueError as `numbers` does."""
    return replace(
        rows, genres=genres.interned(rows.genres), contents=contents.interned(rows.contents)
    )
