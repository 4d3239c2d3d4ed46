"""When the views of a household happen in the replay: a whole history within one week.

A device sends at most SIGNALS_PER_HOUR likes for one hour, and a shard takes them for one week. So
the years of a household become the last week, in order, with as many likes in each hour as in the
others. Of a household that liked more than MAX_LIKES films, the oldest views happen before that
week, and the shard drops their signals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop import Context, View
from constellation_settop.recommending.rewards import SUCCESS_THRESHOLD, compute_reward
from constellation_settop.values import SECONDS_PER_HOUR, SIGNALS_PER_HOUR, TREND_WINDOW_HOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from testing.viewings import Viewings

MARGIN_HOURS: Final = 2
"""Hours of the week that stay empty at its beginning, because it moves on during the replay."""
USED_HOURS: Final = TREND_WINDOW_HOURS - MARGIN_HOURS
MAX_LIKES: Final = SIGNALS_PER_HOUR * USED_HOURS
"""Likes of one household that the shard learns of."""
ANY_TIME: Final = Context()
"""The context of every view: a rating does not say at what time the film was watched."""


def schedule_hours(is_liked: NDArray[np.bool_], now_hour: int) -> NDArray[np.int64]:
    """Return the hour of each view, shape (n,), in hours since 1970; none is after `now_hour`.

    The hours never fall, no hour has more than SIGNALS_PER_HOUR liked views, and all but the oldest
    of more than MAX_LIKES liked views are within the last USED_HOURS.
    """
    like_count = int(is_liked.sum())
    later_likes = np.maximum(is_liked[::-1].cumsum()[::-1] - 1, 0)
    hours_before: NDArray[np.int64] = (
        later_likes // SIGNALS_PER_HOUR
        if like_count > MAX_LIKES
        else later_likes * USED_HOURS // max(like_count, 1)
    )
    return now_hour - hours_before


def make_views(viewings: Viewings, now: float) -> Sequence[View]:
    """Return the views of one household, whose last one happens in the hour of `now`."""
    rewards = [
        compute_reward(float(watched), float(engaged))
        for watched, engaged in zip(viewings.watch_percentages, viewings.engagements, strict=True)
    ]
    hours = schedule_hours(np.array(rewards) > SUCCESS_THRESHOLD, int(now // SECONDS_PER_HOUR))
    return [
        View(content_id, watched, engaged, watched_at=hour * SECONDS_PER_HOUR, context=ANY_TIME)
        for content_id, watched, engaged, hour in zip(
            viewings.content_ids.tolist(),
            viewings.watch_percentages.tolist(),
            viewings.engagements.tolist(),
            hours.tolist(),
            strict=True,
        )
    ]
