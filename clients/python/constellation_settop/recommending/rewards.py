"""Rewards and opinions: how much a household liked what it watched."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, SupportsFloat

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.values import MAX_OPINION

WATCH_WEIGHT: Final = 0.7
ENGAGEMENT_WEIGHT: Final = 0.3
SUCCESS_THRESHOLD: Final = 0.7
"""A view is a success, and its content item is liked, when the reward is larger than this."""
DISLIKE_THRESHOLD: Final = 0.5
"""A content item is disliked when the reward is smaller than this."""
_NEUTRAL_REWARD: Final = 0.6
"""The reward at which the opinion of a success would be 0."""
_DISLIKE_OPINION: Final = -MAX_OPINION // 4
"""The opinion after a view that was no success: much less certain than a word of the household."""


class Feedback(IntEnum):
    """What the household says about a content item."""

    LIKED = 1
    """More like this."""
    DISLIKED = 2
    """Less like this, and not this again."""
    HIDDEN = 3
    """Not this again. It says nothing about the taste."""


def compute_reward(watch_percentage: float, engagement: float | None) -> float:
    """Return how much a view was liked, from 0 to 1.

    It is 0.7 times `watch_percentage` plus 0.3 times `engagement`, or `watch_percentage` alone when
    `engagement` is None. Raises InvalidArgumentError for a value outside 0 to 1.
    """
    _check_share("watch_percentage", watch_percentage)
    if engagement is None:
        return watch_percentage
    _check_share("engagement", engagement)
    return WATCH_WEIGHT * watch_percentage + ENGAGEMENT_WEIGHT * engagement


def _check_share(name: str, share: float) -> None:
    if not isinstance(share, SupportsFloat) or not 0 <= float(share) <= 1:
        raise InvalidArgumentError(
            f"{name} must be a number from 0 to 1 (0.93 for 93 %), got {share!r}"
        )


def to_opinion(reward: float) -> int:
    """Return the opinion that a reward stands for, from -64 to 64.

    A success counts from 16 to 64, linearly in its reward. A reward below DISLIKE_THRESHOLD counts
    -16, and one in between 0.
    """
    if reward > SUCCESS_THRESHOLD:
        return round(MAX_OPINION * (reward - _NEUTRAL_REWARD) / (1 - _NEUTRAL_REWARD))
    return _DISLIKE_OPINION if reward < DISLIKE_THRESHOLD else 0
