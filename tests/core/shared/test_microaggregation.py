from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.shared.microaggregation import (
    CELL_PATTERNS,
    GroupLimits,
    PatternSources,
    divide_into_cells,
    form_groups,
)
from constellation.core.table.standing import SupportFloor

if TYPE_CHECKING:
    from constellation.encoding import Embeddings

LIMITS = GroupLimits(SupportFloor(3), max_members=6, min_cosine=0.8)


def make_vectors(tastes: list[int], seed: int = 1, spread: float = 0.3) -> Embeddings:
    """Return unit vectors near the direction of each taste."""
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(0).standard_normal((max(tastes) + 1, 384))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    noise = random.standard_normal((len(tastes), 384)) * spread / np.sqrt(384)
    vectors = directions[tastes] + noise
    unit: Embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def form(
    tastes: list[int],
    limits: GroupLimits = LIMITS,
    *,
    devices: list[int] | None = None,
    origins: list[int] | None = None,
    stale: tuple[int, ...] = (),
) -> list[list[int]]:
    count = len(tastes)
    is_fresh = np.ones(count, np.bool_)
    is_fresh[list(stale)] = False
    sources = PatternSources(
        np.array(devices or range(count), np.int64), np.array(origins or [1] * count, np.uint8)
    )
    found = form_groups(make_vectors(tastes), sources, is_fresh, limits)
    return sorted(sorted(group.tolist()) for group in found)


def test_patterns_of_one_taste_make_a_group() -> None:
    assert form([0, 0, 0, 1, 1, 1]) == [[0, 1, 2], [3, 4, 5]]


def test_a_taste_of_too_few_devices_makes_none() -> None:
    assert form([0, 0, 0, 1, 1]) == [[0, 1, 2]]
    assert form([0, 0, 0], devices=[5, 5, 6]) == []


def test_what_is_left_over_joins_where_there_is_room() -> None:
    assert form([0] * 5) == [[0, 1, 2, 3, 4]]


def test_stale_patterns_only_join() -> None:
    assert form([0, 0, 0, 0], stale=(1, 2)) == []
    assert form([0, 0, 0, 0], stale=(1,)) == [[0, 1, 2, 3]]


def test_a_group_has_as_many_origins_as_are_asked_for() -> None:
    limits = GroupLimits(SupportFloor(3, origins=3), max_members=6, min_cosine=0.8)

    assert form([0] * 5, limits, origins=[1, 1, 1, 1, 2]) == []
    assert form([0] * 6, limits, origins=[1, 1, 1, 1, 2, 3]) == [[0, 1, 2, 3, 4, 5]]


def test_origins_are_not_bought_with_far_patterns() -> None:
    limits = GroupLimits(SupportFloor(3, origins=2), max_members=6, min_cosine=0.8)

    assert form([0, 0, 0, 0, 1], limits, origins=[1, 1, 1, 1, 2]) == []


def test_without_protection_every_fresh_pattern_is_a_group() -> None:
    limits = GroupLimits(SupportFloor(1), max_members=2, min_cosine=0.8)

    assert form([0, 1, 2], limits, stale=(1,)) == [[0], [2]]


@pytest.mark.parametrize("origins", [1, 2, 3])
def test_every_group_of_many_patterns_keeps_to_its_limits(origins: int) -> None:
    random = np.random.default_rng(7)
    tastes = random.integers(0, 12, 300).tolist()
    devices, lots = random.integers(0, 150, 300), random.integers(1, 5, 300).astype(np.uint8)
    lots = lots[devices]  # each device has one
    is_fresh = random.random(300) < 0.8
    vectors = make_vectors(tastes)
    limits = GroupLimits(SupportFloor(3, origins), max_members=6, min_cosine=0.8)

    groups = form_groups(vectors, PatternSources(devices, lots), is_fresh, limits)

    assert len(groups) > 20
    members = np.concatenate(groups)
    assert len(np.unique(members)) == len(members)
    for group in groups:
        fresh = group[is_fresh[group]]
        assert 3 <= len(fresh) <= len(group) <= 6
        assert len(np.unique(lots[fresh])) >= origins
        assert len(np.unique(devices[group])) == len(group)
        total = vectors[group].sum(axis=0)
        assert (vectors[group] @ total / np.linalg.norm(total)).min() >= 0.8 - 1e-5


def test_cells_are_small_and_have_every_pattern_once() -> None:
    vectors = make_vectors(np.random.default_rng(2).integers(0, 9, 5000).tolist())

    cells = list(divide_into_cells(np.arange(5000), lambda chosen: vectors[chosen]))

    assert max(map(len, cells)) <= CELL_PATTERNS
    assert np.sort(np.concatenate(cells)).tolist() == list(range(5000))
