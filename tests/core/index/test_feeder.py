from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.index.feeder import MAX_PENDING_ROWS, IndexFeeder, merge_changes
from constellation.core.index.pattern_index import PatternIndex
from tests.core.ingest.planned_table import PlannedTable
from tests.deltas import PatternSpec, make_delta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.core.table.change import PatternChange


def make_changes(shard: PlannedTable, *steps: tuple[int, list[PatternSpec]]) -> list[PatternChange]:
    """Return the changes of commits of device 0, each of (seq, patterns)."""
    return [shard.commit(make_delta(0, seq, patterns)).pattern_change for seq, patterns in steps]


@asynccontextmanager
async def run_feeder(feeder: IndexFeeder) -> AsyncIterator[None]:
    task = asyncio.create_task(feeder.feed_forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_of_several_changes_of_a_slot_the_last_counts() -> None:
    shard = PlannedTable()
    changes = make_changes(
        shard,
        (1, [PatternSpec(1, 1), PatternSpec(2, 2)]),
        (2, [PatternSpec(1, 7)]),
        (3, [PatternSpec(2, 2, success_rate=0.75)]),  # no longer shared
    )

    removed, added, codes = merge_changes(changes)

    assert removed.tolist() == [1]
    assert added.tolist() == [0]
    assert (codes == shard.table.patterns["codes"][[0]]).all()


def test_a_slot_that_leaves_and_returns_is_added() -> None:
    shard = PlannedTable()
    changes = make_changes(
        shard, (1, [PatternSpec(1, 1)]), (2, [PatternSpec(1, success_rate=0.75)])
    )
    changes += make_changes(shard, (3, [PatternSpec(1, 5)]))

    removed, added, _ = merge_changes(changes)

    assert removed.tolist() == []
    assert added.tolist() == [0]


async def test_the_index_catches_up_with_the_commits() -> None:
    shard = PlannedTable()
    index = PatternIndex(shard.table.patterns["codes"])
    feeder = IndexFeeder(index, 0)
    async with run_feeder(feeder):
        for lsn, change in enumerate(
            make_changes(shard, (1, [PatternSpec(1), PatternSpec(2)]), (2, [PatternSpec(3)])), 1
        ):
            await feeder.add(change, lsn)

        await asyncio.wait_for(feeder.wait_until_caught_up(), 5)

        assert index.slots().tolist() == [0, 1, 2]
        assert feeder.lsn == 2
        assert feeder.shareable_count == 3
        assert feeder.lag_seconds(1e12) == 0


async def test_the_lag_grows_while_a_change_waits() -> None:
    shard = PlannedTable()
    feeder = IndexFeeder(PatternIndex(shard.table.patterns["codes"]), 0)
    assert feeder.lag_seconds(1e12) == 0
    (change,) = make_changes(shard, (1, [PatternSpec(1)]))

    await feeder.add(change, 1)

    assert feeder.lag_seconds(1e12) > 0


async def test_commits_wait_while_too_many_rows_are_pending() -> None:
    shard = PlannedTable()
    feeder = IndexFeeder(PatternIndex(shard.table.patterns["codes"]), 0)
    (change,) = make_changes(shard, (1, [PatternSpec(1)]))
    for _ in range(MAX_PENDING_ROWS + 1):
        await feeder.add(change, 1)
    waiting = asyncio.create_task(feeder.add(change, 2))
    await asyncio.sleep(0)
    assert not waiting.done()

    async with run_feeder(feeder):
        await asyncio.wait_for(waiting, 5)


def test_no_changes_of_the_index_merge_to_nothing() -> None:
    shard = PlannedTable()
    changes = make_changes(shard, (1, [PatternSpec(1, success_rate=0.75)]))

    removed, added, codes = merge_changes(changes)

    assert len(removed) == len(added) == len(codes) == 0
    assert codes.dtype == np.int8
