from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation.core.ingest.recount import count_devices
from constellation.core.loading import load_shard
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.table.standing import to_day
from constellation.errors import DamagedStoreError
from constellation.storage.memory import MemoryPatternStore
from tests.core.ingest.planned_table import HOUR, NOW, RULES, PlannedTable
from tests.deltas import PatternSpec, device_id, make_delta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.core.rows import LikedRows, Slots
    from constellation.core.store import Totals
    from constellation.core.table.shard_table import Table


class LyingStore(MemoryPatternStore):
    """A store whose totals are not those of its rows."""

    async def read_totals(self) -> Totals:
        return replace(await super().read_totals(), patterns=9, device_digest=1)


async def fill_store(store: MemoryPatternStore) -> Table:
    """Store two devices and three patterns; return the table they were written from."""
    shard = PlannedTable()
    epoch = await store.take_epoch()
    plans = [
        shard.commit(
            make_delta(0, 1, [PatternSpec(n, contents=("a",)) for n in range(3)]),
            make_delta(1, 1, [PatternSpec(1, contents=("a", "b"))], signals=[("b", HOUR)]),
        ),
        shard.commit(make_delta(0, 2, removed=[1])),
    ]
    for plan in plans:
        await store.commit(epoch, plan.writes)
    return shard.table


async def test_a_loaded_table_equals_the_one_that_was_stored() -> None:
    store = MemoryPatternStore()
    table = await fill_store(store)

    loaded = await load_shard(store, RULES)

    assert loaded.problems == []
    assert loaded.table.totals == table.totals
    assert loaded.table.pattern_counts[:2].tolist() == [2, 1]
    assert loaded.table.pattern_allocator.free_list == [1]
    assert loaded.table.pattern_allocator.high_water == 4
    numbers = [loaded.table.vocabulary.number(TermKind.CONTENT, text) for text in "ab"]
    count_devices(loaded.table, RULES, to_day(NOW))
    assert loaded.table.support.devices[numbers].tolist() == [2, 1]
    assert len(loaded.table.slots_by_pattern) == 3
    device = loaded.table.find_devices([device_id(1)])
    assert loaded.table.liked.read(device)["contents"][0, :2].tolist() == [numbers[1], 0]


async def test_rows_that_do_not_add_up_are_reported() -> None:
    store = LyingStore()
    await fill_store(store)

    problems = (await load_shard(store, RULES)).problems

    assert problems[0] == "patterns: the last commit says 9, the rows say 3"
    assert problems[1].startswith("device digest: the last commit says 1, the rows say")
    assert len(problems) == 2


class LosingStore(MemoryPatternStore):
    """A store that lost the liked content of a device."""

    async def scan_liked(self) -> AsyncIterator[tuple[Slots, LikedRows]]:
        async for slots, rows in super().scan_liked():
            yield slots[1:], rows[1:]


async def test_liked_content_that_was_lost_is_reported() -> None:
    store = LosingStore()
    await fill_store(store)

    (problem,) = (await load_shard(store, RULES)).problems

    assert problem.startswith("digest of the liked content: the last commit says ")
    assert problem.endswith("the rows say 0")


async def test_a_row_beyond_the_capacity_names_the_setting() -> None:
    store = MemoryPatternStore()
    await fill_store(store)

    with pytest.raises(DamagedStoreError, match=r"number 3, but MAX_PATTERNS is 2: .* at least 4"):
        await load_shard(store, Rules(max_devices=6, max_patterns=2))
