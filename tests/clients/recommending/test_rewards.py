from __future__ import annotations

import pytest

from constellation_settop import InvalidArgumentError
from constellation_settop.recommending.rewards import compute_reward, to_opinion


def test_an_unknown_engagement_does_not_count_as_none() -> None:
    assert compute_reward(0.9, None) == 0.9
    assert compute_reward(0.9, 0.0) == pytest.approx(0.63)
    assert compute_reward(0.9, 1.0) == pytest.approx(0.93)


@pytest.mark.parametrize("share", [-0.01, 1.01, 93, float("nan"), float("inf")])
def test_a_share_outside_0_to_1_is_refused_by_name(share: float) -> None:
    with pytest.raises(InvalidArgumentError, match="watch_percentage must be a number from 0 to 1"):
        compute_reward(share, None)
    with pytest.raises(InvalidArgumentError, match="engagement must be a number from 0 to 1"):
        compute_reward(1, share)


@pytest.mark.parametrize(
    ("reward", "opinion"),
    [(0.0, -16), (0.49, -16), (0.5, 0), (0.7, 0), (0.7001, 16), (0.8, 32), (1.0, 64)],
)
def test_an_opinion_follows_the_reward(reward: float, opinion: int) -> None:
    assert to_opinion(reward) == opinion
