"""Tastes: what simulated households like, so that they resemble each other as real ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from constellation_settop.recommending.catalogue import Catalogue

_TASTES: Final = 48
_CONTENTS: Final = 200
"""Content items of one taste: those nearest to its centre."""
_TASTES_OF_DEVICE: Final = 3
_TRUE_TO_TASTE: Final = 0.85
"""Share of the views that are of a taste of the household; the others are of anything."""


class Tastes:
    """Groups of content items that are like each other, by their embeddings."""

    def __init__(self, catalogue: Catalogue, random: Generator) -> None:
        """Choose centres among the content items at random."""
        self._catalogue = catalogue
        count = min(_TASTES, len(catalogue))
        centres = random.choice(len(catalogue), count, replace=False)
        embeddings = np.stack([catalogue.embedding(int(row)) for row in centres])
        cosines = catalogue.compute_cosines(catalogue.centre(embeddings))
        nearest = min(_CONTENTS, len(catalogue))
        self._rows = np.argsort(-cosines[:, : len(catalogue)], axis=1, kind="stable")[:, :nearest]

    def draw_household(self, random: Generator) -> NDArray[np.int64]:
        """Return which tastes a household has."""
        count = min(_TASTES_OF_DEVICE, len(self._rows))
        chosen: NDArray[np.int64] = random.choice(len(self._rows), count, replace=False)
        return chosen

    def draw_content(self, household: NDArray[np.int64], random: Generator) -> tuple[str, float]:
        """Return what a household watches next, and the share of it that it watches.

        The first content items of a taste are watched most, as popular ones are.
        """
        if random.random() >= _TRUE_TO_TASTE:
            row = int(random.integers(len(self._catalogue)))
            return self._catalogue.content_ids[row], float(random.uniform(0.05, 1.0))
        rows = self._rows[int(random.choice(household))]
        place = min(int(random.exponential(len(rows) / 6)), len(rows) - 1)
        share = float(min(1.0, random.uniform(0.6, 1.3)))
        return self._catalogue.content_ids[int(rows[place])], share
