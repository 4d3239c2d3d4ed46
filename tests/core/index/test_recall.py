"""The recall probe, against brute force on real patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.index.pattern_index import PatternIndex
from constellation.core.index.recall import measure_recall
from constellation.core.rules import Rules
from constellation.core.table.groups import GroupTable
from constellation.encoding import normalise_codes
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.encoding import Embeddings

RULES = Rules(max_devices=10, max_patterns=20_000)
QUERIES = 32
NEAREST = 10
SEED = 3
ALL, EVERY_OTHER, LAST_FIVE = slice(None), slice(None, None, 2), slice(6, None)


def make_filled_groups(count: int) -> GroupTable:
    """Return a table of shared patterns with real embeddings."""
    groups = GroupTable(RULES)
    groups.allocator.take(count)
    rows = groups.rows[:count]
    rows["codes"] = sample_patterns(count)
    rows["sample_count"], rows["success_rate"] = 5, 0.9
    return groups


def make_index(groups: GroupTable, *, exact_limit: int, every: int = 1) -> PatternIndex:
    """Return an index of every so many-th row."""
    index = PatternIndex(groups.rows["codes"], exact_limit=exact_limit)
    slots = np.arange(0, groups.allocator.high_water, every)
    index.fill(slots)
    return index


class SpoiledIndex(PatternIndex):
    """An index that loses or spoils some of what it finds."""

    spoil: Callable[[SearchResults], None]

    def search(self, queries: Embeddings, limit: int) -> tuple[NDArray[np.float32], Slots]:
        scores, found = super().search(queries, limit)
        self.spoil(SearchResults(scores, found))
        return scores, found


@dataclass(frozen=True, slots=True, eq=False)
class SearchResults:
    """What one search answers: a row for each query, which comes first itself."""

    scores: NDArray[np.float32]
    slots: Slots

    def lose(self, queries: slice, positions: slice) -> None:
        self.scores[queries, positions], self.slots[queries, positions] = -np.inf, -1


def make_spoiled_index(groups: GroupTable, spoil: Callable[[SearchResults], None]) -> SpoiledIndex:
    index = SpoiledIndex(groups.rows["codes"], exact_limit=50_000)
    index.fill(np.arange(groups.allocator.high_water))
    index.spoil = spoil
    return index


def make_far_result_spoiler(groups: GroupTable) -> Callable[[SearchResults], None]:
    """Return a function that replaces the first query's tenth result by the farthest row."""
    vectors = normalise_codes(groups.rows["codes"][: groups.allocator.high_water])

    def spoil(answers: SearchResults) -> None:
        cosines = vectors @ vectors[answers.slots[0, 0]]
        far = int(cosines.argmin())
        answers.scores[0, NEAREST], answers.slots[0, NEAREST] = cosines[far], far

    return spoil


def compute_recall_by_brute_force(groups: GroupTable, index: PatternIndex) -> float:
    """Return recall@10 of the queries that the probe of the same seed asks."""
    count = groups.allocator.high_water
    asked = np.random.default_rng(SEED).choice(np.arange(count), QUERIES, replace=False)
    vectors = normalise_codes(groups.rows["codes"][:count])
    _, found = index.search(vectors[asked], NEAREST + 1)
    cosines = vectors[asked] @ vectors.T
    cosines[np.arange(QUERIES), asked] = -np.inf
    tenth = np.sort(cosines, axis=1)[:, -NEAREST, None]
    near = np.take_along_axis(cosines, found, axis=1) > tenth - 1e-5  # equals are as good
    return float(np.minimum((near & (found >= 0)).sum(axis=1), NEAREST).mean()) / NEAREST


def measure_ratio(groups: GroupTable, index: PatternIndex) -> float:
    probe = measure_recall(groups, index, np.random.default_rng(SEED))
    assert probe is not None
    assert 0 < probe.search_seconds < 10
    return probe.ratio


def test_an_exact_index_finds_everything() -> None:
    groups = make_filled_groups(2000)

    assert measure_ratio(groups, make_index(groups, exact_limit=50_000)) == 1.0


def test_partitions_miss_what_brute_force_says_they_miss() -> None:
    groups = make_filled_groups(11_000)
    index = make_index(groups, exact_limit=500)

    assert index.kind == "partitioned"
    assert compute_recall_by_brute_force(groups, index) < 1.0
    assert measure_ratio(groups, index) == pytest.approx(
        compute_recall_by_brute_force(groups, index)
    )


def test_an_index_that_lost_half_its_rows_shows_it() -> None:
    groups = make_filled_groups(2000)
    index = make_index(groups, exact_limit=50_000, every=2)

    assert compute_recall_by_brute_force(groups, index) < 0.7
    assert measure_ratio(groups, index) == pytest.approx(
        compute_recall_by_brute_force(groups, index)
    )


def test_what_may_not_be_shown_is_not_missed() -> None:
    groups = make_filled_groups(2000)
    groups.rows["sample_count"][1:2000:2] = 0

    assert measure_ratio(groups, make_index(groups, exact_limit=50_000, every=2)) == 1.0


def test_an_empty_index_finds_nothing_of_what_is_stored() -> None:
    groups = make_filled_groups(2000)

    assert measure_ratio(groups, PatternIndex(groups.rows["codes"])) == 0.0


def test_an_index_of_five_patterns_finds_five_of_ten_at_most() -> None:
    groups = make_filled_groups(2000)
    index = make_index(groups, exact_limit=50_000, every=400)

    assert measure_ratio(groups, index) == compute_recall_by_brute_force(groups, index) < 0.05


def test_queries_that_find_nothing_count_as_much_as_the_others() -> None:
    groups = make_filled_groups(2000)
    index = make_spoiled_index(groups, lambda answers: answers.lose(EVERY_OTHER, ALL))

    assert measure_ratio(groups, index) == 0.5


def test_a_search_that_returns_too_few_misses_the_rest() -> None:
    groups = make_filled_groups(2000)
    index = make_spoiled_index(groups, lambda answers: answers.lose(ALL, LAST_FIVE))

    assert measure_ratio(groups, index) == 0.5


def test_one_far_answer_is_one_miss() -> None:
    groups = make_filled_groups(20_000)
    index = make_spoiled_index(groups, make_far_result_spoiler(groups))

    assert measure_ratio(groups, index) == 1 - 1 / (QUERIES * NEAREST)


@pytest.mark.parametrize("blocks", [4, 20])
def test_a_sample_tells_how_much_is_missed(blocks: int) -> None:
    groups = make_filled_groups(20_000)
    whole = make_index(groups, exact_limit=50_000)
    half = make_index(groups, exact_limit=50_000, every=2)
    empty = PatternIndex(groups.rows["codes"])
    spoiled = make_spoiled_index(groups, make_far_result_spoiler(groups))

    assert measure_mean_recall(groups, whole, blocks) == 1.0
    assert measure_mean_recall(groups, half, blocks) == pytest.approx(0.5, abs=0.08)
    assert measure_mean_recall(groups, empty, blocks) == 0.0
    assert measure_mean_recall(groups, spoiled, blocks) > 0.85


def measure_mean_recall(groups: GroupTable, index: PatternIndex, blocks: int) -> float:
    """Return the mean of several probes: a sample holds few of a query's nearest."""
    probes = [
        measure_recall(
            groups, index, np.random.default_rng(seed), max_rows=500 * blocks, block_rows=500
        )
        for seed in range(20)
    ]
    return float(np.mean([probe.ratio for probe in probes if probe is not None]))


@pytest.mark.parametrize("count", [0, NEAREST])
def test_too_few_patterns_have_no_recall(count: int) -> None:
    groups = make_filled_groups(count)
    index = make_index(groups, exact_limit=50_000)

    assert measure_recall(groups, index, np.random.default_rng(SEED)) is None


def test_patterns_that_are_dissolved_meanwhile_do_no_harm() -> None:
    """The probe runs in a thread, beside epochs; a dissolved row has no codes to normalise."""
    groups = make_filled_groups(500)

    def dissolve_some(_: SearchResults) -> None:
        groups.rows["codes"][:50] = 0

    index = make_spoiled_index(groups, dissolve_some)

    recall = measure_recall(groups, index, np.random.default_rng(SEED))

    assert recall is not None
    assert recall.ratio > 0.5
