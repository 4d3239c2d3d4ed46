"""The recall probe, against brute force on real patterns."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.patterns import real_patterns
from constellation.core.index.pattern import PatternIndex
from constellation.core.recall import measure
from constellation.core.rules import Rules
from constellation.core.table import Table
from constellation.encoding import unit

RULES = Rules(max_devices=10, max_patterns=20_000)
NONE = np.empty(0, dtype=np.int64)
QUERIES = 32
NEAREST = 10
SEED = 3


def filled(count: int) -> Table:
    """Return a table with real patterns that may all be shown."""
    table = Table(RULES)
    table.free_patterns.take(count)
    rows = table.patterns[:count]
    rows["codes"] = real_patterns(count)
    rows["sample_count"], rows["success_rate"] = 5, 0.9
    return table


def indexed(table: Table, *, exact_limit: int, every: int = 1) -> PatternIndex:
    """Return an index of every so many-th row."""
    index = PatternIndex(table.patterns["codes"], exact_limit=exact_limit)
    slots = np.arange(0, table.free_patterns.used, every)
    index.apply(NONE, slots, table.patterns["codes"][slots])
    if index.due():
        index.rebuild()
    return index


def by_brute_force(table: Table, index: PatternIndex) -> float:
    """Return recall@10 of the queries that the probe of the same seed asks."""
    count = table.free_patterns.used
    asked = np.random.default_rng(SEED).choice(np.arange(count), QUERIES, replace=False)
    vectors = unit(table.patterns["codes"][:count])
    _, found = index.search(vectors[asked], NEAREST + 1)
    cosines = vectors[asked] @ vectors.T
    cosines[np.arange(QUERIES), asked] = -np.inf
    truth = np.argsort(-cosines, axis=1)[:, :NEAREST]
    return sum(len(np.intersect1d(*each)) for each in zip(found, truth, strict=True)) / truth.size


def ratio(table: Table, index: PatternIndex) -> float:
    recall = measure(table, index, RULES, np.random.default_rng(SEED))
    assert recall is not None
    assert 0 < recall.search_seconds < 10
    return recall.ratio


def test_an_exact_index_finds_everything() -> None:
    table = filled(2000)

    assert ratio(table, indexed(table, exact_limit=50_000)) == 1.0


def test_partitions_miss_what_brute_force_says_they_miss() -> None:
    table = filled(11_000)
    index = indexed(table, exact_limit=500)

    assert index.kind == "partitioned"
    assert ratio(table, index) == pytest.approx(by_brute_force(table, index), abs=0.02)


def test_an_index_that_lost_half_its_rows_shows_it() -> None:
    table = filled(2000)
    index = indexed(table, exact_limit=50_000, every=2)

    assert by_brute_force(table, index) < 0.7
    assert ratio(table, index) == pytest.approx(by_brute_force(table, index), abs=0.15)


def test_what_may_not_be_shown_is_not_missed() -> None:
    table = filled(2000)
    table.patterns["success_rate"][1:2000:2] = 0.75

    assert ratio(table, indexed(table, exact_limit=50_000, every=2)) == 1.0


@pytest.mark.parametrize("count", [0, NEAREST])
def test_too_few_patterns_have_no_recall(count: int) -> None:
    table = filled(count)
    index = indexed(table, exact_limit=50_000)

    assert measure(table, index, RULES, np.random.default_rng(SEED)) is None
