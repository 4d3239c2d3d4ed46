"""The split: what each household watched first, and which films it liked later.

Everything that may be chosen is chosen on the validation split, which lies inside of the part that
the test split trains on. The test split is for reporting.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from testing.viewings import Viewings

WATCHED_SHARE: Final = 0.8
"""Share of a household's ratings, the earliest ones, that its device sees."""
MIN_LIKED: Final = 5
"""Films that a household must have liked in the part that its device sees."""
MIN_WANTED: Final = 3
"""Films that it must have liked in the part that is held out."""


class SplitName(StrEnum):
    """Which ratings are held out."""

    VALIDATION = "validation"
    """The last fifth of what the test split trains on. Settings are chosen on it."""
    TEST = "test"
    """The last fifth of all ratings. It is for reporting only."""


@dataclass(frozen=True, slots=True, eq=False)
class Household:
    """One household: what its device sees, and what it should recommend."""

    number: int
    """User id of MovieLens."""
    watched: Viewings
    """What the device sees, the earliest first."""
    later: Viewings
    """What the household watched afterwards. Nothing that recommends may see it."""

    @property
    def liked_rows(self) -> NDArray[np.int64]:
        """Rows of the films among `watched` that the household liked, the earliest first."""
        return self.watched.content_rows[self.watched.ratings >= LIKED]

    @property
    def wanted_rows(self) -> NDArray[np.int64]:
        """Rows of the films among `later` that the household liked: what is to be found."""
        return self.later.content_rows[self.later.ratings >= LIKED]


def split_households(viewings: Viewings, name: SplitName) -> list[Household]:
    """Return the households that liked enough films in both parts, in order of their numbers."""
    order = np.argsort(viewings.households, kind="stable")
    starts = np.flatnonzero(np.diff(viewings.households[order], prepend=-1))
    households = [
        _split_household(viewings.take(rows), name) for rows in np.split(order, starts[1:])
    ]
    return [
        each
        for each in households
        if len(each.liked_rows) >= MIN_LIKED and len(each.wanted_rows) >= MIN_WANTED
    ]


def _split_household(viewings: Viewings, name: SplitName) -> Household:
    watched, later = _split_by_time(viewings)
    if name is SplitName.VALIDATION:
        watched, later = _split_by_time(watched)
    return Household(int(viewings.households[0]), watched, later)


def _split_by_time(viewings: Viewings) -> tuple[Viewings, Viewings]:
    is_watched = np.arange(len(viewings)) < int(WATCHED_SHARE * len(viewings))
    return viewings.select(is_watched), viewings.select(~is_watched)


def thin_out(households: Sequence[Household], count: int) -> list[Household]:
    """Return `count` households at even distances, always the same ones."""
    if not 1 <= count <= len(households):
        raise ValueError(f"count must be from 1 to {len(households)}, got {count}")
    return [households[index * len(households) // count] for index in range(count)]
