from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.index.pattern_index import PatternIndex
from constellation.encoding import normalise_codes
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.core.rows import Slots
    from constellation.encoding import Codes, Embeddings

NO_SLOTS = np.empty(0, dtype=np.int64)
ALWAYS_EXACT = 50_000


@cache
def load_sample() -> Codes:
    return sample_patterns(12_000)


def make_queries(count: int) -> Embeddings:
    return normalise_codes(load_sample()[-count:])


def make_index(slots: Slots, *, exact_limit: int = 500, codes: Codes | None = None) -> PatternIndex:
    index = PatternIndex(load_sample() if codes is None else codes, exact_limit=exact_limit)
    index.fill(slots)
    return index


def search_by_brute_force(slots: Slots, queries: Embeddings, limit: int) -> Slots:
    """Return the truth."""
    cosines = queries @ normalise_codes(load_sample()[slots]).T
    best: Slots = slots[np.argsort(-cosines, axis=1)[:, :limit]]
    return best


def compute_recall(found: Slots, truth: Slots) -> float:
    both = [len(set(one) & set(other)) for one, other in zip(found, truth, strict=True)]
    return sum(both) / truth.size


@pytest.fixture(params=["exact", "partitioned"])
def index(request: pytest.FixtureRequest) -> PatternIndex:
    """Two thousand patterns in either structure."""
    limit = 500 if request.param == "partitioned" else ALWAYS_EXACT
    made = make_index(np.arange(2000), exact_limit=limit)
    assert made.kind == request.param
    return made


def test_an_empty_index_finds_nothing() -> None:
    scores, slots = make_index(NO_SLOTS).search(make_queries(3), 4)

    assert (scores == -np.inf).all()
    assert (slots == -1).all()
    assert scores.shape == slots.shape == (3, 4)


def test_exact_search_equals_brute_force() -> None:
    index = make_index(np.arange(3000), exact_limit=ALWAYS_EXACT)

    scores, slots = index.search(make_queries(40), 10)

    truth = np.sort(make_queries(40) @ normalise_codes(load_sample()[:3000]).T, axis=1)
    np.testing.assert_allclose(scores, truth[:, :-11:-1], atol=1e-6)
    expected = search_by_brute_force(np.arange(3000), make_queries(40), 10)
    assert compute_recall(slots, expected) > 0.99  # all but ties


@pytest.mark.parametrize("count", [600, 11_000])
def test_partitions_find_19_of_20_nearest(count: int) -> None:
    index = make_index(np.arange(count))

    scores, slots = index.search(make_queries(100), 10)

    assert index.kind == "partitioned"
    expected = search_by_brute_force(np.arange(count), make_queries(100), 10)
    assert compute_recall(slots, expected) >= 0.95
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_limit_above_the_size_is_padded(index: PatternIndex) -> None:
    index.fill(np.arange(5))

    scores, slots = index.search(make_queries(2), 8)

    assert (np.sort(slots, axis=1) == [-1, -1, -1, 0, 1, 2, 3, 4]).all()
    assert np.isneginf(scores[:, 5:]).all()


def test_as_many_are_found_as_are_asked_for(index: PatternIndex) -> None:
    _, slots = index.search(make_queries(2), 1000)

    assert slots.min() >= 0
    assert [len(set(row)) for row in slots.tolist()] == [1000, 1000]


def test_only_what_it_was_filled_with_last_is_found(index: PatternIndex) -> None:
    index.fill(np.arange(1, 1500, 2))

    assert (index.search(make_queries(20), 50)[1] % 2 == 1).all()
    assert index.slots.tolist() == list(range(1, 1500, 2))
    assert len(index) == 750


def test_the_number_of_patterns_decides_the_structure() -> None:
    index = make_index(np.arange(501))
    kinds = [index.kind]

    index.fill(np.arange(500))

    assert [*kinds, index.kind] == ["partitioned", "exact"]


def test_searches_go_on_while_it_is_filled_anew() -> None:
    index = make_index(np.arange(1000))
    is_filled = threading.Event()

    def search() -> None:
        while not is_filled.is_set():
            _, slots = index.search(make_queries(4), 10)
            assert slots.min() >= 0
            assert slots.max() < 1000 or slots.min() >= 1000  # of one fill alone

    def fill() -> None:
        try:
            for _ in range(3):
                index.fill(np.arange(1000, 2000))
                index.fill(np.arange(1000))
        finally:
            is_filled.set()

    with ThreadPoolExecutor() as threads:
        for work in [threads.submit(search), threads.submit(fill)]:
            work.result()

    assert len(index) == 1000


def test_a_restored_index_answers_as_before() -> None:
    index = make_index(np.arange(0, 3000, 2))
    data = index.dump()
    assert data is not None
    restored = PatternIndex(load_sample(), exact_limit=500)

    restored.restore(data)

    expected = index.search(make_queries(20), 10)[1]
    np.testing.assert_array_equal(restored.search(make_queries(20), 10)[1], expected)
    np.testing.assert_array_equal(restored.slots, index.slots)


def test_an_exact_index_has_nothing_to_dump() -> None:
    assert make_index(np.arange(10)).dump() is None


@pytest.mark.parametrize("damage", ["short", "cut", "flipped", "foreign"])
def test_damaged_data_is_refused_and_changes_nothing(damage: str) -> None:
    index = make_index(np.arange(1000))
    data = index.dump()
    assert data is not None
    flipped = data.copy()
    flipped[len(data) // 2] ^= 1
    bad = {"short": data[:5], "cut": data[:-9], "flipped": flipped, "foreign": data[::-1]}[damage]

    with pytest.raises(ValueError, match="snapshot"):
        index.restore(bad)

    assert len(index) == 1000


def test_data_of_a_larger_table_is_refused() -> None:
    data = make_index(np.arange(1000)).dump()
    assert data is not None

    with pytest.raises(ValueError, match="slots"):
        PatternIndex(load_sample()[:900]).restore(data)
