"""The tastes of many devices, and the results of many queries, in one pass."""

from __future__ import annotations

import numpy as np
import pytest

from constellation.core.index.similar_batch import (
    TASTE_QUERIES,
    Results,
    merge_results,
    read_tastes,
)
from tests.core.index.test_similar import SearchedTable
from tests.deltas import PatternSpec, embedding, make_delta


def _merge_slowly(
    scores: np.ndarray, slots: np.ndarray, requests: np.ndarray
) -> list[tuple[int, int, float]]:
    """Do what `merge_results` does with dictionaries."""
    best: dict[tuple[int, int], float] = {}
    for request, row_scores, row_slots in zip(requests, scores, slots, strict=True):
        for score, slot in zip(row_scores.tolist(), row_slots.tolist(), strict=True):
            if slot >= 0:
                key = int(request), slot
                best[key] = max(best.get(key, -np.inf), score)
    return sorted(
        ((request, slot, score) for (request, slot), score in best.items()),
        key=lambda each: (each[0], -each[2], each[1]),
    )


@pytest.mark.parametrize("seed", range(8))
def test_results_are_those_of_a_slow_merge(seed: int) -> None:
    random = np.random.default_rng(seed)
    requests = np.sort(random.integers(0, 6, 20))
    slots = random.integers(-1, 30, (20, 12))
    scores = random.choice(np.linspace(-1, 1, 9), (20, 12)).astype(np.float32)  # with many ties
    scores[slots < 0] = -np.inf

    found = merge_results(scores, slots, requests)

    rows = zip(found.requests.tolist(), found.slots.tolist(), found.scores.tolist(), strict=True)
    assert list(rows) == _merge_slowly(scores, slots, requests)


def test_a_query_without_results_has_none() -> None:
    found = merge_results(np.full((2, 3), -np.inf, np.float32), np.full((2, 3), -1), np.arange(2))

    assert len(found.requests) == len(found.slots) == len(found.scores) == 0


def test_each_request_keeps_as_many_results_as_its_limit() -> None:
    requests = np.array([0, 0, 0, 2, 2])
    found = Results(requests, np.arange(5), np.ones(5, np.float32))

    assert found.cut(np.array([2, 9, 1])).slots.tolist() == [0, 1, 3]


def test_tastes_of_many_devices_are_those_of_each_alone() -> None:
    shard = SearchedTable()
    for device in range(4):
        specs = [
            PatternSpec(10 * device + n, 10 * device + n, sample_count=1 + n)
            for n in range(3 * device)
        ]
        shard.commit(make_delta(device, 1, specs))

    tastes, positions = read_tastes(shard.table, np.array([3, -1, 0, 2, 1]))

    assert positions.tolist() == [0] * TASTE_QUERIES + [3] * 6 + [4] * 3
    for position, device in enumerate([3, -1, 0, 2, 1]):
        alone, _ = read_tastes(shard.table, np.array([device]))
        assert np.array_equal(tastes[positions == position], alone)
    strongest = tastes[positions == 3] @ embedding(25)
    assert strongest[0] > 0.999  # the most samples come first
