"""Related content: what households liked who liked what this household liked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop.recommending.scores import scale_to_peak

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from constellation_settop.recommending.catalogue import Catalogue
    from constellation_settop.recommending.scores import Scores
    from constellation_settop.values import HistoryEntry, RelatedRow

HALF_LIFE: Final = 30
"""After this many newer liked content items, an entry of the history counts half."""
WEIGHT_BITS: Final = 16
"""Weights of all rows are added up in units of 2**-16."""
_AGE_UNIT: Final = 4096
"""The age factor of the newest entry of the history."""


def compute_age_factors(half_life: int) -> NDArray[np.int64]:
    """Return the factor of an entry by the number of liked entries after it, in units of 1/4096.

    The last factor is 0, and stands for all older entries.
    """
    factors = np.rint(_AGE_UNIT * np.exp2(-np.arange(14 * half_life) / half_life))
    return np.append(factors, 0).astype(np.int64)


def compute_evidence(history: Sequence[HistoryEntry], half_life: int) -> dict[str, int]:
    """Return what each entry of a history counts: its opinion times its age factor.

    `history` has the oldest entry first. Entries that count nothing are left out.
    """
    factors = compute_age_factors(half_life)
    newest_first = history[::-1]
    opinions = np.fromiter((entry.opinion for entry in newest_first), np.int64, len(history))
    is_liked = opinions > 0
    newer_likes: NDArray[np.int64] = np.cumsum(is_liked) - is_liked
    counts = opinions * factors[np.minimum(newer_likes, len(factors) - 1)]
    counted = zip(newest_first, counts.tolist(), strict=True)
    return {entry.content_id: count for entry, count in counted if count}


class RelatedContent:
    """The rows of related content that a device holds, prepared for ranking one catalogue."""

    def __init__(self, catalogue: Catalogue, rows: Collection[RelatedRow]) -> None:
        """Look up the neighbours in the catalogue. Those that it lacks are left out."""
        self._catalogue = catalogue
        self._content_ids = [row.content_id for row in rows]
        names = dict.fromkeys(name for row in rows for name in row.neighbours)
        rows_by_name = dict(zip(names, catalogue.find_all_rows(names).tolist(), strict=True))
        counts = [len(row.neighbours) for row in rows]
        targets = np.array(
            [rows_by_name[name] for row in rows for name in row.neighbours], np.int64
        )
        sources = np.repeat(np.arange(len(counts)), counts)
        weights = np.frombuffer(b"".join(row.weights for row in rows), np.int8).astype(np.int64)
        shifts = np.repeat(np.array([row.shift for row in rows], np.int64), counts)
        order = np.argsort(targets, kind="stable")
        known = order[np.count_nonzero(targets < 0) :]  # without those that the catalogue lacks
        self._targets, self._sources = targets[known], sources[known]
        self._weights = weights[known]
        self._left_shifts = np.maximum(WEIGHT_BITS - shifts, 0)[known]
        self._right_shifts = np.maximum(shifts - WEIGHT_BITS, 0)[known]
        self._contributions = np.zeros(len(self._targets), np.int64)

    def count_sources(self, evidence: dict[str, int]) -> int:
        """Return how many rows are of a content item that the household liked."""
        return sum(evidence.get(each, 0) > 0 for each in self._content_ids)

    def score(self, evidence: dict[str, int]) -> Scores:
        """Return the score of each content item for what a history counts.

        A score is the sum, over the rows of the entries, of evidence times weight; the largest
        becomes PEAK. It is below 0 for what follows from dislikes. Sums stay below 2**53.
        """
        counted = np.array([evidence.get(each, 0) for each in self._content_ids], np.int64)
        products = counted[self._sources] * self._weights
        self._contributions = (products << self._left_shifts) >> self._right_shifts
        sums = np.bincount(self._targets, self._contributions, minlength=len(self._catalogue))
        return scale_to_peak(sums.astype(np.int64))

    def find_main_reason(self, row: int) -> str:
        """Return the content item that contributes most to the last score of a catalogue row."""
        start, end = np.searchsorted(self._targets, [row, row + 1])
        best = start + int(self._contributions[start:end].argmax())
        return self._content_ids[int(self._sources[best])]
