"""An update is the change from what a device holds to what it should hold, and no more."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from constellation.core.device_update import HeldState
from constellation.core.rules import Rules
from constellation.encoding import Encoding
from constellation.transport.codec.global_state import to_global
from constellation.transport.sync.updates import DeviceAnswer, UpdateEncoder
from constellation.v1 import aggregates_pb2
from constellation.v1 import patterns_pb2 as patterns
from tests.deltas import PatternSpec, device_id
from tests.sharing import share_patterns
from tests.sync_client import to_columns
from tests.transport.inbox_client import push_delta
from tests.transport.sync.sessions import open_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation.core.shard import ShardManager

CAPACITY = Rules().similar_limit
DEVICE = device_id(0)
NEAR = 1
"""The direction of the device's taste."""


@asynccontextmanager
async def open_neighbours() -> AsyncIterator[ShardManager]:
    """A shard that shows every pattern: a device's own, and three of others near its taste."""
    async with open_manager() as manager:
        await push_delta(manager, 0, 1, [PatternSpec(0, NEAR)])
        await push_delta(manager, 1, 1, [PatternSpec(number, NEAR) for number in (1, 2, 3)])
        await share_patterns(manager)
        yield manager


async def update(
    manager: ShardManager, held: HeldState, capacity: int = CAPACITY
) -> tuple[patterns.GlobalUpdate, HeldState]:
    answer = await answer_device(manager, held, capacity)
    return patterns.GlobalUpdate.FromString(answer.body), answer.held


async def answer_device(
    manager: ShardManager, held: HeldState, capacity: int = CAPACITY
) -> DeviceAnswer:
    return await UpdateEncoder(manager).make_update(DEVICE, held, capacity, Encoding.INT8)


async def publish_clusters(
    manager: ShardManager, clusters: Sequence[PatternSpec], round_id: int
) -> None:
    message = aggregates_pb2.Global(
        generation=1,
        round_id=round_id,
        clusters=aggregates_pb2.GlobalClusters(patterns=to_columns(clusters)),
    )
    await manager.restore_global(to_global(message.SerializeToString()))


async def test_a_device_that_holds_nothing_gets_all_near_patterns() -> None:
    async with open_neighbours() as manager:
        message, held = await update(manager, HeldState())

    assert len(message.similar.ids) == 4 * 16
    assert len(message.similarities) == message.similar_count == len(held.similar) == 4
    assert message.reset
    assert held.version == manager.global_state.version


async def test_a_device_that_holds_everything_gets_nothing() -> None:
    async with open_neighbours() as manager:
        _, held = await update(manager, HeldState())

        message, still_held = await update(manager, held)
        answer = await answer_device(manager, held)

    assert answer.is_redundant
    assert message.similar_count == 4
    assert still_held == held


async def test_only_the_patterns_that_a_device_lacks_are_sent() -> None:
    async with open_neighbours() as manager:
        _, held = await update(manager, HeldState())
        known = frozenset(list(held.similar)[:3])

        message, _ = await update(manager, HeldState(held.version, known))

    assert {message.similar.ids} == held.similar - known
    assert message.removed_similar_ids == b""


async def test_patterns_that_are_no_longer_near_are_removed() -> None:
    async with open_neighbours() as manager:
        gone = bytes(range(16))

        message, held = await update(manager, HeldState(similar=frozenset([gone])))
        holding_gone = HeldState(held.version, held.similar | {gone})
        answer = await answer_device(manager, holding_gone)

    assert message.removed_similar_ids == gone
    assert gone not in held.similar
    assert not answer.is_redundant


async def test_a_device_gets_no_more_than_it_can_keep() -> None:
    async with open_neighbours() as manager:
        message, held = await update(manager, HeldState(), capacity=2)

    assert message.similar_count == len(held.similar) == 2


async def test_the_clusters_that_a_device_lacks_are_sent_and_old_ones_removed() -> None:
    old, kept, new = PatternSpec(7, 7), PatternSpec(8, 8), PatternSpec(9, 9)
    async with open_neighbours() as manager:
        await publish_clusters(manager, [old, kept], round_id=1)
        _, held = await update(manager, HeldState())
        await publish_clusters(manager, [kept, new], round_id=2)

        message, held_after = await update(manager, held)

    assert held.clusters == {old.pattern_id, kept.pattern_id}
    assert message.clusters.ids == new.pattern_id
    assert message.removed_cluster_ids == old.pattern_id
    assert message.cluster_count == len(held_after.clusters) == 2


async def test_without_a_global_state_of_a_federation_clusters_are_removed() -> None:
    gone = bytes(range(16))
    async with open_neighbours() as manager:
        message, held = await update(manager, HeldState(clusters=frozenset([gone])))

    assert message.removed_cluster_ids == gone
    assert held.clusters == frozenset()


async def test_a_new_version_alone_is_worth_an_update() -> None:
    async with open_neighbours() as manager:
        _, held = await update(manager, HeldState())

        answer = await answer_device(manager, HeldState(similar=held.similar))

    assert not answer.is_redundant
