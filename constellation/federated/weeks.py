"""Weeks, as bounds of contributions and privacy budgets count them."""

from __future__ import annotations

import math
from typing import Final

WEEK_SECONDS: Final = 7 * 86_400
_MONDAY_SECONDS: Final = 4 * 86_400
"""1970 began on a Thursday: the first Monday is four days later."""


def find_week(seconds: float) -> int:
    """Return the week of a time. It begins on Monday, 0:00 UTC; week 0 on 5 January 1970."""
    return math.floor((seconds - _MONDAY_SECONDS) / WEEK_SECONDS)


def find_week_start(week: int) -> int:
    """Return when a week begins: seconds since 1970."""
    return _MONDAY_SECONDS + week * WEEK_SECONDS
