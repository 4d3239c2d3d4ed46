"""Contribution bounds: the most that one device adds to what a shard counts.

Shards enforce them, and report them with their counts. They are the sensitivities of the
differentially private mode: how far sums move, in the Euclidean norm, when one device is added or
removed with all that it ever did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNALS_PER_HOUR: Final = 4
"""Content items that one device may signal for one hour, each counted once."""
LIKED_CONTENTS: Final = 128
"""The latest liked content items of a device that a shard keeps; a setting lowers those counted."""
PATTERNS_PER_WEEK: Final = 256
"""New patterns of one device that are stored in a week: twice as many as it may have."""
SIGNALS_PER_WEEK: Final = 168
"""Signals of one device that count in a week: one for each hour, on average."""
LIKED_PER_WEEK: Final = SIGNALS_PER_WEEK + LIKED_CONTENTS
"""Content items that are added in a week to what one device liked: by all signals, and once by a
snapshot of everything."""


@dataclass(frozen=True, slots=True)
class ContributionBounds:
    """The most that one device adds to the counts of one shard."""

    liked_contents: int = LIKED_CONTENTS
    """Content items of one device that enter likes and pairs, each counted once."""
    signals_per_hour: int = SIGNALS_PER_HOUR
    """Content items of one device that enter the counts of one hour, each counted once."""

    @property
    def likes_norm_squared(self) -> int:
        """The squared norm of what one device adds to the likes of content items."""
        return self.liked_contents

    @property
    def pairs_norm_squared(self) -> int:
        """The squared norm of what one device adds to the pairs of two different content items."""
        return self.liked_contents * (self.liked_contents - 1) // 2

    @property
    def hour_norm_squared(self) -> int:
        """The squared norm of what one device adds to the content items of one hour."""
        return self.signals_per_hour


def combine_bounds(bounds: Iterable[ContributionBounds]) -> ContributionBounds:
    """Return the bounds that hold for a device of any of several shards."""
    known = list(bounds)
    return ContributionBounds(
        max((each.liked_contents for each in known), default=0),
        max((each.signals_per_hour for each in known), default=0),
    )
