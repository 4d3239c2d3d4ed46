from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.index.pattern_index import PatternIndex
from constellation.core.rows import PATTERN
from constellation.encoding import normalise_codes
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.core.rows import PatternRows, Slots
    from constellation.encoding import Codes, Embeddings

NO_SLOTS = np.empty(0, dtype=np.int64)


class IndexedTable:
    """A pattern table and its index, changed together; `present` is what should be in it."""

    def __init__(self, capacity: int, exact_limit: int) -> None:
        self.rows: PatternRows = np.zeros(capacity, dtype=PATTERN)
        self.codes: Codes = self.rows["codes"]
        self.exact_limit = exact_limit
        self.index = PatternIndex(self.codes, exact_limit=exact_limit)
        self.expected_slots: set[int] = set()

    def apply_change(self, removed: Slots, added: Slots, codes: Codes) -> None:
        self.codes[removed] = 0
        self.codes[added] = codes
        self.index.apply(removed, added, codes)
        self.expected_slots = (self.expected_slots - set(removed.tolist())) | set(added.tolist())

    def search_exactly(self, queries: Embeddings, limit: int) -> Slots:
        """Return the truth, by brute force."""
        slots = np.array(sorted(self.expected_slots))
        cosines = queries @ normalise_codes(self.codes[slots]).T
        best: Slots = slots[np.argsort(-cosines, axis=1)[:, :limit]]
        return best


@cache
def load_sample() -> Codes:
    return sample_patterns(12_000)


def make_queries(count: int) -> Embeddings:
    return normalise_codes(load_sample()[-count:])


def make_filled_table(count: int, *, exact_limit: int = 500) -> IndexedTable:
    shard = IndexedTable(capacity=12_000, exact_limit=exact_limit)
    shard.apply_change(NO_SLOTS, np.arange(count), load_sample()[:count])
    if shard.index.is_rebuild_due():
        shard.index.rebuild()
    return shard


def compute_recall(found: Slots, truth: Slots) -> float:
    both = [len(set(one) & set(other)) for one, other in zip(found, truth, strict=True)]
    return sum(both) / truth.size


@pytest.fixture(params=["exact", "partitioned"])
def indexed_table(request: pytest.FixtureRequest) -> IndexedTable:
    """Two thousand patterns in either structure."""
    made = make_filled_table(2000, exact_limit=500 if request.param == "partitioned" else 50_000)
    assert made.index.kind == request.param
    return made


def test_an_empty_index_finds_nothing() -> None:
    index = IndexedTable(capacity=10, exact_limit=5).index

    scores, slots = index.search(make_queries(3), 4)

    assert (scores == -np.inf).all()
    assert (slots == -1).all()
    assert scores.shape == slots.shape == (3, 4)


def test_exact_search_equals_brute_force() -> None:
    shard = make_filled_table(3000, exact_limit=50_000)

    scores, slots = shard.index.search(make_queries(40), 10)

    truth = np.sort(make_queries(40) @ normalise_codes(shard.codes[:3000]).T, axis=1)[:, :-11:-1]
    np.testing.assert_allclose(scores, truth, atol=1e-6)
    assert compute_recall(slots, shard.search_exactly(make_queries(40), 10)) > 0.99  # all but ties


def test_partitions_find_19_of_20_nearest() -> None:
    shard = make_filled_table(11_000)

    scores, slots = shard.index.search(make_queries(100), 10)

    assert shard.index.kind == "partitioned"
    assert compute_recall(slots, shard.search_exactly(make_queries(100), 10)) >= 0.95
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_limit_above_the_size_is_padded(indexed_table: IndexedTable) -> None:
    indexed_table.apply_change(np.arange(5, 2000), NO_SLOTS, load_sample()[:0])

    scores, slots = indexed_table.index.search(make_queries(2), 8)

    assert (np.sort(slots, axis=1) == [-1, -1, -1, 0, 1, 2, 3, 4]).all()
    assert np.isneginf(scores[:, 5:]).all()


def test_a_removed_slot_is_not_found_again(indexed_table: IndexedTable) -> None:
    removed = indexed_table.index.search(normalise_codes(load_sample()[7:8]), 20)[1][0]

    indexed_table.apply_change(removed, NO_SLOTS, load_sample()[:0])

    assert not set(indexed_table.index.search(normalise_codes(load_sample()[7:8]), 50)[1][0]) & set(
        removed
    )
    assert len(indexed_table.index) == 1980


def test_a_replaced_slot_is_found_once_where_it_is_now(indexed_table: IndexedTable) -> None:
    new = load_sample()[-1:]

    indexed_table.apply_change(
        NO_SLOTS, np.array([42, 42]), np.concatenate([load_sample()[50:51], new])
    )

    scores, slots = indexed_table.index.search(normalise_codes(new), 2000)
    assert (slots == 42).sum() == 1
    assert scores[slots == 42] == pytest.approx(1, abs=1e-5)
    assert len(indexed_table.index) == 2000


def test_a_slot_removed_and_added_at_once_is_present(indexed_table: IndexedTable) -> None:
    indexed_table.index.apply(np.array([1, 9, 11_000]), np.array([9]), load_sample()[9:10])

    np.testing.assert_array_equal(indexed_table.index.slots(), np.delete(np.arange(2000), 1))


def test_an_index_that_shrinks_becomes_exact_again() -> None:
    shard = make_filled_table(2000)
    shard.apply_change(np.arange(100, 2000), NO_SLOTS, load_sample()[:0])
    assert shard.index.is_rebuild_due()

    shard.index.rebuild()

    assert shard.index.kind == "exact"
    assert not shard.index.is_rebuild_due()
    assert set(shard.index.slots()) == shard.expected_slots


def test_an_index_that_doubles_is_due() -> None:
    shard = make_filled_table(1000)
    assert not shard.index.is_rebuild_due()

    shard.apply_change(NO_SLOTS, np.arange(1000, 2500), load_sample()[1000:2500])

    assert shard.index.is_rebuild_due()


@pytest.mark.parametrize("seed", range(4))
def test_any_sequence_of_changes_leaves_what_a_set_would(seed: int) -> None:
    random = np.random.default_rng(seed)
    shard = IndexedTable(capacity=4000, exact_limit=500)
    for step in range(60):
        reach = 4000 if step < 40 else 300  # first grow, then shrink
        removed = random.integers(4000, size=random.integers(0, 150 if step < 40 else 2000))
        added = random.integers(reach, size=random.integers(0, 400))

        shard.apply_change(removed, added, load_sample()[random.integers(12_000, size=len(added))])

        if shard.index.is_rebuild_due():
            shard.index.rebuild()
        assert set(shard.index.slots()) == shard.expected_slots
        assert len(shard.index) == len(shard.expected_slots)
    assert (
        compute_recall(
            shard.index.search(make_queries(20), 10)[1], shard.search_exactly(make_queries(20), 10)
        )
        >= 0.9
    )


def test_nothing_is_lost_while_rebuilding() -> None:
    shard = make_filled_table(6000, exact_limit=5000)
    random = np.random.default_rng(3)
    rebuilt = threading.Event()

    def search() -> None:
        while not rebuilt.is_set():
            assert shard.index.search(make_queries(4), 10)[1].min() >= 0

    def rebuild() -> None:
        try:
            for _ in range(4):
                shard.index.rebuild()
        finally:
            rebuilt.set()

    with ThreadPoolExecutor() as threads:
        others = [threads.submit(search), threads.submit(rebuild)]
        while not rebuilt.is_set():
            removed = random.integers(12_000, size=20)
            added = random.integers(12_000, size=22)
            shard.apply_change(removed, added, load_sample()[random.integers(12_000, size=22)])
        for other in others:
            other.result()

    assert set(shard.index.slots()) == shard.expected_slots
    assert (
        compute_recall(
            shard.index.search(make_queries(50), 10)[1], shard.search_exactly(make_queries(50), 10)
        )
        >= 0.95
    )


def test_a_restored_index_answers_and_changes_as_before() -> None:
    shard = make_filled_table(3000)
    data = shard.index.dump()
    assert data is not None
    expected = shard.index.search(make_queries(20), 10)
    restored = PatternIndex(shard.codes, exact_limit=500)

    restored.restore(data)

    np.testing.assert_array_equal(restored.search(make_queries(20), 10)[1], expected[1])
    restored.apply(np.arange(10), np.array([5]), load_sample()[5:6])
    assert set(restored.slots()) == {5} | set(range(10, 3000))
    assert not restored.is_rebuild_due()


def test_an_exact_index_has_nothing_to_dump() -> None:
    assert make_filled_table(10).index.dump() is None


@pytest.mark.parametrize("damage", ["short", "cut", "flipped", "foreign"])
def test_damaged_data_is_refused_and_changes_nothing(damage: str) -> None:
    shard = make_filled_table(1000)
    data = shard.index.dump()
    assert data is not None
    flipped = data.copy()
    flipped[len(data) // 2] ^= 1
    bad = {"short": data[:5], "cut": data[:-9], "flipped": flipped, "foreign": data[::-1]}[damage]

    with pytest.raises(ValueError, match="snapshot"):
        shard.index.restore(bad)

    assert set(shard.index.slots()) == shard.expected_slots


def test_data_of_a_larger_table_is_refused() -> None:
    data = make_filled_table(1000).index.dump()
    assert data is not None

    with pytest.raises(ValueError, match="slots"):
        PatternIndex(load_sample()[:900]).restore(data)
