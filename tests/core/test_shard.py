from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.device_update import HeldState
from constellation.core.ingest.cursors import Cursor
from constellation.core.ingest.observers import ShardObservers
from constellation.core.ingest.stats import ShedReason
from constellation.core.rows import TermKind
from constellation.core.store import HourlyCounts
from constellation.core.table.ownership import ShardIdentity
from constellation.errors import NotOwnerError, NotReadyError, ShardFullError
from constellation.placement import find_owner
from tests.core.shards import RULES, QueuedUpdates, open_core
from tests.deltas import PatternSpec, device_id, make_delta
from tests.sharing import share_patterns

if TYPE_CHECKING:
    from constellation.core.table.vocabulary import Vocabulary

SHARDS = {0: "a:1", 1: "b:1"}


async def test_a_draining_shard_admits_nobody() -> None:
    async with open_core() as manager:
        manager.drain()

        with pytest.raises(NotReadyError, match="draining"):
            manager.admit(device_id(0))

        assert manager.stats.shed[ShedReason.DRAINING] == 1


async def test_a_full_shard_admits_only_devices_that_it_knows() -> None:
    async with open_core() as manager:
        for device in range(3):
            await manager.apply(make_delta(device, 1))

        manager.admit(device_id(0))
        with pytest.raises(ShardFullError, match="MAX_DEVICES is 3"):
            manager.admit(device_id(9))

        assert manager.stats.shed[ShedReason.DEVICES] == 1


async def test_the_device_of_another_shard_is_sent_there() -> None:
    foreign = next(n for n in range(99) if find_owner(device_id(n), SHARDS) == 1)
    async with open_core(identity=ShardIdentity(0, "north", SHARDS)) as manager:
        with pytest.raises(NotOwnerError) as raised:
            manager.admit(device_id(foreign))

    assert (raised.value.shard_id, raised.value.address) == (1, "b:1")


async def test_a_cursor_is_known_once_a_delta_is_durable() -> None:
    async with open_core() as manager:
        assert manager.find_cursor(device_id(0)) is None

        await manager.apply(make_delta(0, 1))

        assert manager.find_cursor(device_id(0)) == Cursor(1, 1)


async def test_a_device_gets_an_update_only_once() -> None:
    async with open_core(rules=replace(RULES, k_anonymity=1)) as manager:
        await manager.apply(make_delta(0, 1, [PatternSpec(1, 1)]))
        await manager.apply(make_delta(1, 1, [PatternSpec(2, 1)]))
        await share_patterns(manager)

        first = await manager.find_update(device_id(0), HeldState(), 10)
        second = await manager.find_update(device_id(0), first.held, 10)

        assert len(first.similar.rows) == 2
        assert len(second.similar.rows) == 0
        assert second.held == first.held


async def test_similar_patterns_are_searched_again_only_when_they_may_have_changed() -> None:
    async with open_core(rules=replace(RULES, k_anonymity=1)) as manager:
        for device in (0, 1):
            await manager.apply(make_delta(device, 1, [PatternSpec(1, 1)]))
        await share_patterns(manager)
        searches = manager.similar.search_seconds

        first = await manager.find_update(device_id(0), HeldState(), 10)
        counts = [searches.cumulative()[-1]]
        second = await manager.find_update(device_id(0), first.held, 10)
        counts.append(searches.cumulative()[-1])
        await manager.find_update(device_id(0), second.held, 5)
        counts.append(searches.cumulative()[-1])
        await manager.apply(make_delta(0, 2, [PatternSpec(2, 2)]))
        third = await manager.find_update(device_id(0), second.held, 10)
        counts.append(searches.cumulative()[-1])
        await share_patterns(manager)
        fourth = await manager.find_update(device_id(0), third.held, 10)
        counts.append(searches.cumulative()[-1])
        await manager.delete_device(device_id(1))
        fifth = await manager.find_update(device_id(0), fourth.held, 10)

        assert counts == [1, 1, 2, 3, 4]
        assert first.held == second.held == third.held
        assert len(fourth.similar.pseudonyms) == 1
        assert len(fifth.removed_similar) == 1
        assert fifth.held.similar < fourth.held.similar


async def test_trends_that_changed_are_sent_to_everybody() -> None:
    updates = QueuedUpdates()
    hour = 500_000
    async with open_core(observers=ShardObservers(updates=updates)) as manager:
        for device in range(2):
            await manager.apply(make_delta(device, 1, [PatternSpec(1, contents=("a",))]))
        await manager.publish_trends(hour * 3600.0)
        assert updates.all_count == 0  # nobody has watched anything

        manager.ring.put(_count_one_content(manager.table.vocabulary, hour))
        await manager.publish_trends(hour * 3600.0)
        await manager.publish_trends(hour * 3600.0)

    assert updates.all_count == 1


def _count_one_content(vocabulary: Vocabulary, hour: int) -> HourlyCounts:
    number = vocabulary.number(TermKind.CONTENT, "a")
    return HourlyCounts(
        np.array([hour], np.uint32),
        np.array([TermKind.CONTENT], np.uint8),
        np.array([number], np.uint32),
        np.array([5], np.uint32),
    )
