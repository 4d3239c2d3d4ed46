from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.table.ownership import ShardIdentity
from constellation.errors import NotReadyError
from constellation.federated.aggregate import AggregateUpdate, Anchors
from constellation.placement import find_owner
from tests.core.aggregates.aggregated_table import (
    DIRECTIONS,
    HOUR,
    AggregatedTable,
    compute_by_hand,
    make_anchors,
    require_same,
)
from tests.core.aggregates.steps import STEPS
from tests.deltas import PatternSpec, device_id, make_delta

if TYPE_CHECKING:
    from collections.abc import Callable


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(0, 5))
def test_an_update_brings_an_earlier_aggregate_to_the_present_one(
    steps: list[Any], at: int
) -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    seqs: dict[int, int] = defaultdict(int)
    earlier: AggregateUpdate | None = None
    for number, step in enumerate(steps):
        if number == at:
            earlier = shard.get_update()
        if step[0] == "delta":
            _, device, upserts, removed, snapshot = step
            seqs[device] += 1
            shard.commit(make_delta(device, seqs[device], upserts, removed, snapshot=snapshot))
    earlier = earlier or shard.get_update()

    more, whole = shard.get_update(earlier.version.version), shard.get_update()

    rows = {
        int(i): earlier.clusters.features.sums[r]
        for r, i in enumerate(earlier.clusters.cluster_ids)
    }
    rows |= {
        int(i): more.clusters.features.sums[r] for r, i in enumerate(more.clusters.cluster_ids)
    }
    full = {
        int(i): whole.clusters.features.sums[r] for r, i in enumerate(whole.clusters.cluster_ids)
    }
    assert more.base_version == earlier.version.version
    assert {i: row.tolist() for i, row in rows.items()} == {i: r.tolist() for i, r in full.items()}


def test_nothing_changed_is_an_empty_answer_of_the_same_version() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    shard.commit(make_delta(0, 1, [PatternSpec(1)], signals=[("a", HOUR)]))
    first = shard.get_update()

    second = shard.get_update(first.version.version)

    assert second.version == first.version
    assert len(second.clusters) == len(second.hours.hours) == 0


def test_only_clusters_that_changed_travel() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    shard.commit(make_delta(0, 1, [PatternSpec(1, 0)]), make_delta(1, 1, [PatternSpec(1, 1)]))
    first = shard.get_update()
    shard.commit(make_delta(1, 2, [PatternSpec(1, 1, sample_count=9)]))

    second = shard.get_update(first.version.version)

    assert second.clusters.cluster_ids.tolist() == [2]


def test_a_version_that_is_not_known_gets_everything() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    shard.commit(make_delta(0, 1, [PatternSpec(1, 0)]))
    shard.get_update()

    update = shard.get_update(99)

    assert update.base_version == 0
    assert update.clusters.cluster_ids.tolist() == [1]


async def test_a_shard_that_sums_up_anew_says_so() -> None:
    shard = AggregatedTable(ready_seconds=0.01)
    await shard.aggregates.wait_until_ready()  # nobody has asked for sums

    shard.aggregates.set_anchors(make_anchors())

    with pytest.raises(NotReadyError, match="summing up"):
        await shard.aggregates.wait_until_ready()


def test_commits_during_a_switch_are_counted_once() -> None:
    shard, used = AggregatedTable(), make_anchors(2, 1)
    shard.use_anchors(make_anchors())
    for device in range(4):
        shard.commit(make_delta(device, 1, [PatternSpec(n, n % DIRECTIONS) for n in range(4)]))

    async def switch() -> None:
        turns = 0

        async def run_paused(work: Callable[[], None]) -> None:
            nonlocal turns
            turns += 1
            if turns == 1:  # between looking patterns up and counting them
                shard.commit(
                    make_delta(0, 2, [PatternSpec(1, 3)], [2]),
                    make_delta(4, 1, [PatternSpec(1, 2)]),
                )
            work()
            if turns == 1:  # between counting them and the switch
                shard.commit(make_delta(1, 2, [PatternSpec(1, 3)], [2]))
                shard.expire(3)

        await shard.aggregates.build(used, run_paused)

    asyncio.run(switch())

    require_same(shard.get_update(), compute_by_hand(shard, used))


def test_a_device_that_the_map_gives_away_is_not_counted() -> None:
    shard, shards = AggregatedTable(), {0: "a:1", 1: "b:1"}
    for device in range(6):
        shard.commit(make_delta(device, 1, [PatternSpec(1, 0)]))
    ShardIdentity(0, "north", shards).mark_relocated(shard.table)
    shard.recount()

    shard.use_anchors(make_anchors())

    mine = sum(find_owner(device_id(device), shards) == 0 for device in range(6))
    update = shard.get_update()
    assert 0 < mine < 6
    assert update.header.devices == mine
    assert update.clusters.features.devices.tolist() == [mine]


def test_a_codebook_without_anchors_is_none() -> None:
    shard = AggregatedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1)]))

    shard.aggregates.set_anchors(
        Anchors(7, 1, np.empty(0, np.uint32), np.empty((0, 384), np.float32))
    )

    assert not shard.aggregates.is_build_due
    assert shard.get_update().header.codebook_version == 0


def test_another_journals_codebook_is_another_one_whatever_its_version() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())

    shard.aggregates.set_anchors(replace(make_anchors(), generation=8))

    assert shard.aggregates.is_build_due
