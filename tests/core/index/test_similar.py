from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.index.pattern_index import PatternIndex
from constellation.core.index.similar import TASTE_QUERIES, SimilarPatterns, SimilarSearch
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from tests.core.ingest.planned_table import PlannedTable
from tests.deltas import PatternSpec, embedding, make_delta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RULES = Rules(max_devices=6, max_patterns=60, max_patterns_per_device=20, k_anonymity=2)


class SearchedTable(PlannedTable):
    """A planned table whose shared patterns are in an index."""

    def __init__(self) -> None:
        super().__init__(RULES)
        self.index = PatternIndex(self.table.patterns["codes"])
        self.similar = SimilarSearch(self.table, self.index, RULES, b"secret")

    def fill_index(self) -> None:
        slots = np.array(sorted(self.indexed), np.int64)
        self.index.apply(slots[:0], slots, self.table.patterns["codes"][slots])


@asynccontextmanager
async def run_search(shard: SearchedTable) -> AsyncIterator[SimilarSearch]:
    task = asyncio.create_task(shard.similar.search_forever())
    try:
        yield shard.similar
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def read_numbers(found: SimilarPatterns) -> list[int]:
    return [int.from_bytes(row["pattern_id"].tobytes(), "big") - 1 for row in found.rows]


async def test_a_device_gets_near_patterns_of_others_only() -> None:
    shard = SearchedTable()
    shard.commit(
        make_delta(0, 1, [PatternSpec(1, 1)]),
        make_delta(1, 1, [PatternSpec(2, 1), PatternSpec(3, 9)]),
    )
    shard.fill_index()

    async with run_search(shard) as similar:
        found = await similar.search_for_device(0, similar.compute_taste(0), 1)

    assert read_numbers(found) == [2]
    assert found.similarities[0] > 0.999


async def test_a_device_without_patterns_gets_none() -> None:
    shard = SearchedTable()

    found = await shard.similar.search_for_device(-1, shard.similar.compute_taste(-1), 5)

    assert len(found.rows) == 0


async def test_requests_that_wait_together_are_one_call_of_the_index() -> None:
    shard = SearchedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(n, n) for n in range(5)]))
    shard.fill_index()
    queries = [embedding(direction)[None] for direction in range(5)]
    searches = [asyncio.create_task(shard.similar.search(query, 1)) for query in queries]
    await asyncio.sleep(0)

    async with run_search(shard) as similar:
        results = await asyncio.wait_for(asyncio.gather(*searches), 5)

    assert [read_numbers(found) for found in results] == [[n] for n in range(5)]
    assert similar.search_seconds.cumulative()[-1] == 1


async def test_a_slot_that_changed_since_the_search_is_left_out() -> None:
    shard = SearchedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1, 1), PatternSpec(2, 1)]))
    shard.fill_index()
    searching = asyncio.create_task(shard.similar.search(embedding(1)[None], 5))
    await asyncio.sleep(0)
    shard.commit(make_delta(0, 2, [PatternSpec(1, 8)]))

    async with run_search(shard):
        found = await asyncio.wait_for(searching, 5)

    assert read_numbers(found) == [2]


def test_a_taste_is_the_strongest_patterns() -> None:
    shard = SearchedTable()
    weak = [PatternSpec(n, n, sample_count=1) for n in range(TASTE_QUERIES)]
    shard.commit(make_delta(0, 1, [*weak, PatternSpec(99, 99, sample_count=16)]))

    taste = shard.similar.compute_taste(0)

    assert taste.shape == (TASTE_QUERIES, 384)
    assert taste[0] @ embedding(99) > 0.999


def test_terms_of_too_few_devices_are_not_shown() -> None:
    shard = SearchedTable()
    shard.commit(
        make_delta(0, 1, [PatternSpec(1, contents=("shared", "secret"), genres=("mine",))]),
        make_delta(1, 1, [PatternSpec(2, success_rate=0.75, contents=("shared",))]),
    )

    found = shard.similar.sample(10)

    (row,) = found.rows
    shared = shard.table.vocabulary.number(TermKind.CONTENT, "shared")
    assert [number for number in row["contents"].tolist() if number] == [shared]
    assert not row["genres"].any()


def test_a_pseudonym_names_one_revision() -> None:
    shard = SearchedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1)]))
    first, again = shard.similar.sample(1), shard.similar.sample(1)
    shard.commit(make_delta(0, 2, [PatternSpec(1, 2)]))

    revised = shard.similar.sample(1)

    assert first.pseudonyms == again.pseudonyms
    assert revised.pseudonyms != first.pseudonyms


def test_a_sample_leaves_out_relocated_devices_and_unshared_patterns() -> None:
    shard = SearchedTable()
    shard.commit(
        make_delta(0, 1, [PatternSpec(1)]),
        make_delta(1, 1, [PatternSpec(2), PatternSpec(3, success_rate=0.75)]),
    )
    shard.table.relocated[0] = True
    shard.recount()

    assert read_numbers(shard.similar.sample(10)) == [2]
