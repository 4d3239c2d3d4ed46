"""The short form of the evaluation, which `make check` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quality.split import SplitName, split_households
from testing.films import load_films
from testing.viewings import load_viewings

if TYPE_CHECKING:
    from quality.split import Household

SHORT_HOUSEHOLDS: Final = 200
SHORT_SPLIT: Final = SplitName.VALIDATION
"""Not the test split: these figures are looked at with every change."""
SHORT_RUNS: Final = 3
"""Runs of which the lowest figures are committed."""
TOLERANCE: Final = 0.05
"""Share of a committed figure that may be missing."""


def select_short() -> list[Household]:
    """Return the households of the short form: those that liked the fewest films.

    They watch little, so that many of them take little time, and a mean over many varies little.
    """
    households = split_households(load_viewings(load_films()), SHORT_SPLIT)
    return sorted(households, key=lambda each: len(each.liked_rows))[:SHORT_HOUSEHOLDS]
