"""Names: content ids and genres as numbers, the same in the aggregate of every shard."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from constellation.core.aggregate import ClusterRows, WordCounts
    from constellation.core.sums import Integers


class Names:
    """Texts of one kind, numbered as they are met. No result may depend on the numbers' order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def numbers(self, texts: Iterable[str]) -> Integers:
        """Return the number of each text, adding those that are new."""
        return np.array([self._number(text) for text in texts], np.int64)

    def interned(self, words: WordCounts) -> WordCounts:
        """Return counts whose words are numbers of ours."""
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

    def _number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


def interned(rows: ClusterRows, contents: Names, genres: Names) -> ClusterRows:
    """Return clusters whose words are numbers of ours."""
    return replace(
        rows, genres=genres.interned(rows.genres), contents=contents.interned(rows.contents)
    )
