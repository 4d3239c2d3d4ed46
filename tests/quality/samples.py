"""Households of a few viewings, made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quality.split import Household
from testing.viewings import Viewings, simulate_watching

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_viewings(
    rows: Sequence[int], ratings: Sequence[float], households: Sequence[int] | None = None
) -> Viewings:
    """Return viewings in this order, of household 1 unless others are given."""
    stars = np.array(ratings, np.float32)
    watched, engaged = simulate_watching(stars)
    return Viewings(
        households=np.array(households or [1] * len(rows), np.int64),
        content_ids=np.array([f"film:{row}" for row in rows], np.str_),
        content_rows=np.array(rows, np.int64),
        ratings=stars,
        timestamps=np.arange(len(rows)),
        watch_percentages=watched,
        engagements=engaged,
    )


def make_household(
    watched: Sequence[int], wanted: Sequence[int], ratings: Sequence[float] | None = None
) -> Household:
    """Return a household that liked all it watched, unless ratings are given, and all later."""
    return Household(
        1,
        make_viewings(watched, ratings or [5.0] * len(watched)),
        make_viewings(wanted, [5.0] * len(wanted)),
    )
