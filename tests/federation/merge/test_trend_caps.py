"""No shard can put subjects on the list of trends, or keep them from it, by exaggerating."""

from __future__ import annotations

import numpy as np
import pytest

from constellation.federated.trends import WINDOW_HOURS
from federation.merge.trends import (
    ShardCounts,
    TrendRules,
    find_trends,
    winsorise,
)
from tests.federation.merge.shard_counts import RISING_COUNTS, make_shard


def test_one_shard_counts_for_four_times_the_median_rate_at_most() -> None:
    counts = np.array([10.0, 21.0, 30.0, 0.0, 500.0])[:, None, None]
    devices = np.array([1000, 1000, 1000, 1000, 2000])

    capped = winsorise(counts, devices)

    # rates above 0: .010 .021 .030 .250; median .0255; the cap of 2,000 devices is 204
    assert capped.ravel().tolist() == [10, 21, 30, 0, 204]


def test_it_takes_three_shards_to_cap_one() -> None:
    counts = np.array([[[0.0, 1.0, 1.0]], [[100.0, 100.0, 100.0]], [[0.0, 0.0, 1.0]]])

    capped = winsorise(counts, np.full(3, 1000))

    assert capped[1].ravel().tolist() == [100, 100, 4]


def test_a_small_shard_may_count_for_one_device_always() -> None:
    counts = np.array([1.0, 1.0, 2.0])[:, None, None]

    capped = winsorise(counts, np.array([1000, 1000, 10]))

    assert capped.ravel().tolist() == [1, 1, 1]


def test_what_one_shard_exaggerates_is_capped_in_the_sum() -> None:
    honest = [make_shard(n, "", RISING_COUNTS) for n in range(5)]
    lying = [*honest[:4], make_shard(4, "", [9000.0, 9000.0])]
    capped = [*honest[:4], make_shard(4, "", [800.0, 800.0])]

    assert find_trends(lying, TrendRules(), 1) == find_trends(capped, TrendRules(), 1)


def test_what_one_shard_exaggerates_does_not_make_up_for_missing_devices() -> None:
    shards = [make_shard(n, "", [60.0, 60.0] if n < 4 else [9000.0, 9000.0]) for n in range(5)]

    lists = [find_trends(shards, TrendRules(min_devices=least), 1) for least in (480, 481)]

    assert [len(found) for found in lists] == [1, 0]  # 4 x 60, and a cap of 240


def test_a_shard_with_more_devices_may_count_for_more() -> None:
    large = make_shard(4, "", [1900.0, 1900.0], devices=10_000)
    shards = [*(make_shard(n, "", RISING_COUNTS) for n in range(4)), large]

    lists = [find_trends(shards, TrendRules(min_devices=least), 1) for least in (2700, 2701)]

    assert [len(found) for found in lists] == [1, 0]


def test_a_shard_that_raised_what_is_usual_does_not_hide_a_trend() -> None:
    shards = [make_shard(n, "", RISING_COUNTS) for n in range(6)]
    shards[5].counts[:-2] = 4000.0

    found = find_trends(shards, TrendRules(), 1)

    assert [trend.is_global for trend in found] == [True]


def test_a_shard_that_pushes_other_subjects_does_not_crowd_a_trend_out() -> None:
    liar, pushed = 5, [[90_000.0, 90_000.0]] * 10
    shards = [
        make_shard(n, "", [30.0, 30.0], *(pushed if n == liar else [[]] * 10)) for n in range(6)
    ]
    shards[liar].counts[:, 0] = 400.0  # the raw sum is 4.5 deviations above its usual, no 6

    found = find_trends(shards, TrendRules(limit=1), 11)

    assert [(trend.subject, trend.is_global) for trend in found] == [(0, True)]


def test_a_shard_adds_nothing_to_subjects_that_it_does_not_know() -> None:
    three = [make_shard(n, "", [], RISING_COUNTS) for n in range(3)]
    another = ShardCounts(3, "", 1000, np.array([2]), np.full((WINDOW_HOURS, 1), 9000.0))
    nothing = ShardCounts(4, "", 0, np.empty(0, np.int64), np.zeros((WINDOW_HOURS, 0)))

    found = find_trends([*three, another, nothing], TrendRules(), 3)

    alone = find_trends(three, TrendRules(), 3)
    assert [trend.subject for trend in found] == [trend.subject for trend in alone] == [1]
    assert found[0].popularity == pytest.approx(alone[0].popularity)
    assert found[0].score == pytest.approx(alone[0].score)
