from __future__ import annotations

import math

import numpy as np
import pytest

from quality.metrics import LIMIT, compute_ndcg, measure_quality, rank_unseen


def to_rows(*rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return rows of films as an array."""
    return np.array(rows, np.int64)


def test_the_best_list_has_an_ndcg_of_one() -> None:
    assert compute_ndcg(to_rows(3, 1, 7, 8), to_rows(1, 3)) == pytest.approx(1.0)


def test_ndcg_discounts_by_rank_and_divides_by_what_is_possible() -> None:
    # found at ranks 2 and 4; two wanted films could gain 1 + 1 / log2(3) at best
    gained = 1 / math.log2(3) + 1 / math.log2(5)
    possible = 1 + 1 / math.log2(3)

    assert compute_ndcg(to_rows(9, 1, 8, 3), to_rows(1, 3)) == pytest.approx(gained / possible)


def test_ndcg_needs_no_more_than_ten_of_many_wanted_films() -> None:
    assert compute_ndcg(np.arange(LIMIT), np.arange(50)) == pytest.approx(1.0)


def test_what_stands_after_the_tenth_place_does_not_count() -> None:
    assert compute_ndcg(np.arange(20), to_rows(10, 11)) == 0


def test_quality_is_the_mean_over_households() -> None:
    ranked = [to_rows(1, 2, 3, 4), to_rows(1, 5)]
    wanted = [to_rows(2, 90, 91, 92), to_rows(80)]

    quality = measure_quality(ranked, wanted, content_count=100)

    first = (1 / math.log2(3)) / sum(1 / math.log2(rank + 1) for rank in range(1, 5))
    assert quality.households == 2
    assert quality.ndcg == pytest.approx(first / 2)
    # the deviation of two values is their distance / sqrt(2); the error is that / sqrt(2)
    assert quality.ndcg_error == pytest.approx(first / 2)
    assert quality.recall == pytest.approx((1 / 4 + 0) / 2)
    assert quality.hit_rate == 0.5
    assert quality.coverage == 5 / 100


def test_an_empty_list_finds_nothing() -> None:
    quality = measure_quality([to_rows(), to_rows(4)], [to_rows(1), to_rows(4)], 10)

    assert quality.ndcg == 0.5
    assert quality.coverage == 0.1


def test_ranking_leaves_out_what_was_seen_and_keeps_the_order_of_equal_scores() -> None:
    scores = np.array([[0.5, 0.9, 0.5, 0.1], [0.0, 0.0, 0.0, 1.0]])

    first, second = rank_unseen(scores, [to_rows(1), to_rows()])

    assert first.tolist() == [0, 2, 3]
    assert second.tolist() == [3, 0, 1, 2]
