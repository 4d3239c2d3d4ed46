from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.index.pattern_index import EXACT_LIMIT, PatternIndex
from constellation.core.index.similar import SimilarPatterns, SimilarSearch
from constellation.core.index.similar_batch import TASTE_QUERIES
from constellation.core.rows import PATTERN
from constellation.core.rules import Rules
from constellation.core.table.groups import no_members
from constellation.encoding import normalise_codes, quantise
from testing.patterns import sample_patterns
from tests.core.ingest.planned_table import PlannedTable
from tests.deltas import PatternSpec, embedding, make_delta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.core.rows import Slots
    from constellation.encoding import Codes

RULES = Rules(max_devices=6, max_patterns=60, max_patterns_per_device=20, k_anonymity=1)


class SearchedTable(PlannedTable):
    """A planned table with shared patterns, which are in an index."""

    def __init__(self, rules: Rules = RULES, *, exact_limit: int = EXACT_LIMIT) -> None:
        super().__init__(rules)
        self.groups = self.table.groups
        self.index = PatternIndex(self.groups.rows["codes"], exact_limit=exact_limit)
        self.similar = SimilarSearch(self.table, self.index)

    def publish(self, *directions: int, lsn: int = 0) -> None:
        """Publish a shared pattern in each direction; its group and its id are the direction."""
        codes = quantise(np.stack([embedding(direction) for direction in directions]))[0]
        self.publish_codes(np.array(directions, np.int64), codes, lsn)

    def publish_codes(self, groups: Slots, codes: Codes, lsn: int = 0) -> None:
        """Publish a shared pattern for each group; its id is the group's number."""
        rows = np.zeros(len(groups), PATTERN)
        rows["lsn"], rows["sample_count"], rows["success_rate"] = lsn, 1, 0.9
        rows["pattern_id"] = [group.to_bytes(16, "big") for group in groups.tolist()]
        rows["codes"] = codes
        high_water = max(self.groups.allocator.high_water, int(groups.max()) + 1)
        self.groups.allocator.high_water = high_water
        self.groups.publish(rows, replace(no_members(), groups=groups), np.empty(0, np.uint32))
        self.index.fill(self.groups.find_published())


@asynccontextmanager
async def run_search(shard: SearchedTable) -> AsyncIterator[SimilarSearch]:
    task = asyncio.create_task(shard.similar.search_forever())
    try:
        yield shard.similar
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def read_directions(found: SimilarPatterns) -> list[int]:
    return [int.from_bytes(pseudonym, "big") for pseudonym in found.pseudonyms]


async def test_a_device_gets_the_nearest_shared_patterns() -> None:
    shard = SearchedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1, 1)]))
    shard.publish(1, 2, 9)

    async with run_search(shard) as similar:
        found = await similar.search(similar.compute_taste(0), 1)

    assert read_directions(found) == [1]
    assert found.similarities[0] > 0.999


async def test_a_device_without_patterns_gets_none() -> None:
    shard = SearchedTable()

    found = await shard.similar.search(shard.similar.compute_taste(-1), 5)

    assert len(found.rows) == 0


async def test_requests_that_wait_together_are_one_call_of_the_index() -> None:
    shard = SearchedTable()
    shard.publish(*range(5))
    queries = [embedding(direction)[None] for direction in range(5)]
    searches = [asyncio.create_task(shard.similar.search(query, 1)) for query in queries]
    await asyncio.sleep(0)

    async with run_search(shard) as similar:
        results = await asyncio.wait_for(asyncio.gather(*searches), 5)

    assert [read_directions(found) for found in results] == [[n] for n in range(5)]
    assert similar.search_seconds.cumulative()[-1] == 1


@pytest.mark.parametrize("queries", [1, 4])
async def test_a_device_gets_19_of_its_20_nearest_of_many_patterns(queries: int) -> None:
    shard = SearchedTable(Rules(max_devices=6, max_patterns=40_000, k_anonymity=1), exact_limit=500)
    codes = sample_patterns(9000 + 100 * queries, seed=11)
    shared = normalise_codes(codes[:9000])
    shard.publish_codes(np.arange(9000), codes[:9000])
    tastes = normalise_codes(codes[9000:]).reshape(100, queries, -1)

    async with run_search(shard) as similar:
        found = [await similar.search(taste, 20) for taste in tastes]

    nearest = np.sort((tastes @ shared.T).max(axis=1), axis=1)[:, :-21:-1]
    recall = np.mean(
        [each.similarities >= one[-1] - 1e-5 for each, one in zip(found, nearest, strict=True)]
    )
    assert shard.index.kind == "partitioned"
    assert recall >= 0.95


async def test_a_shared_pattern_that_changed_since_the_search_is_left_out() -> None:
    shard = SearchedTable()
    shard.publish(1, 2, 3)
    searching = asyncio.create_task(shard.similar.search(embedding(1)[None], 5))
    await asyncio.sleep(0)
    shard.publish(1, lsn=1)
    shard.groups.dissolve(np.array([2]), 1)

    async with run_search(shard):
        found = await asyncio.wait_for(searching, 5)

    assert read_directions(found) == [3]


def test_a_taste_is_the_strongest_patterns() -> None:
    shard = SearchedTable()
    weak = [PatternSpec(n, n, sample_count=1) for n in range(TASTE_QUERIES)]
    shard.commit(make_delta(0, 1, [*weak, PatternSpec(99, 99, sample_count=16)]))

    taste = shard.similar.compute_taste(0)

    assert taste.shape == (TASTE_QUERIES, 384)
    assert taste[0] @ embedding(99) > 0.999


def test_a_genre_that_the_catalogue_lost_is_not_shown() -> None:
    shard = SearchedTable()
    shard.publish(1)
    shard.groups.rows["genres"][1, :2] = 1, 2
    shard.table.public_genres[2] = True

    found = shard.similar.sample(1)

    assert found.rows["genres"][0, :3].tolist() == [0, 2, 0]


def test_a_sample_is_spread_over_what_is_published() -> None:
    shard = SearchedTable()
    shard.publish(*range(5))
    shard.groups.dissolve(np.array([0]), 1)

    assert read_directions(shard.similar.sample(2)) == [1, 4]
    assert read_directions(shard.similar.sample(10)) == [1, 2, 3, 4]
