from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from federation.shards.client import PullScope, ShardClient
from federation.shards.fleet import Fleet
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.scripted_shard import ScriptedShard, run_scripted_shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.federated.aggregate import AggregateUpdate

SUMS_ONLY = PullScope()
TIMEOUT = 10.0


def make_shard_update(
    shard_id: int, devices: int = 5, *, epoch: int = 1, version: int = 1, base_version: int = 0
) -> AggregateUpdate:
    rows = make_cluster_rows([1], [devices], version=version)
    return make_update(shard_id, rows, epoch=epoch, version=version, base_version=base_version)


@asynccontextmanager
async def open_fleet(*shards: ScriptedShard, are_relays: bool = False) -> AsyncIterator[Fleet]:
    """Open a fleet of shards; `fleet.clients` has them in the order of their addresses."""
    async with AsyncExitStack() as stack:
        clients = []
        for shard in shards:
            address = await stack.enter_async_context(run_scripted_shard(shard))
            clients.append(
                await stack.enter_async_context(ShardClient.open(address, is_relay=are_relays))
            )
        yield Fleet(clients)


async def test_a_sweep_joins_the_update_of_every_shard() -> None:
    north, south = ScriptedShard(make_shard_update(0)), ScriptedShard(make_shard_update(1))
    async with open_fleet(north, south) as fleet:
        sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    assert sorted(fleet.aggregates) == [0, 1]
    assert sweep.fresh_shard_ids == sweep.restarted_shard_ids == {0, 1}
    assert sweep.cluster_row_count == 2
    assert [outcome.problem for outcome in sweep.outcomes] == ["", ""]


async def test_the_next_sweep_asks_for_what_changed() -> None:
    north = ScriptedShard(make_shard_update(0))
    async with open_fleet(north) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)
        north.updates = (make_shard_update(0, 6, version=2, base_version=1),)
        sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    (known,) = north.pulls[1].known_versions
    assert (known.shard_id, known.version) == (0, 1)
    assert fleet.aggregates[0].clusters.features.devices.tolist() == [6]
    assert sweep.restarted_shard_ids == set()


async def test_an_update_from_a_later_epoch_is_of_a_restarted_shard() -> None:
    north = ScriptedShard(make_shard_update(0))
    async with open_fleet(north) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)
        north.updates = (make_shard_update(0, epoch=2),)
        sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    assert sweep.restarted_shard_ids == {0}


async def test_two_addresses_with_one_shard_id_are_named() -> None:
    north, twin = ScriptedShard(make_shard_update(3)), ScriptedShard(make_shard_update(3))
    async with open_fleet(north, twin) as fleet:
        sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    first, second = sweep.outcomes
    assert (first.problem, first.shard_ids) == ("", [3])
    assert second.is_refused
    assert f"also answers at {first.result.address}: give each shard" in second.problem


async def test_a_shard_that_moved_to_another_address_is_accepted() -> None:
    async with open_fleet(ScriptedShard(make_shard_update(3))) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)
        async with open_fleet(ScriptedShard(make_shard_update(3, 9, epoch=2))) as moved:
            fleet.clients = moved.clients
            sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    assert sweep.fresh_shard_ids == {3}
    assert fleet.aggregates[3].address == moved.clients[0].address


async def test_an_older_epoch_at_another_address_is_refused() -> None:
    async with open_fleet(ScriptedShard(make_shard_update(3, epoch=2))) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)
        async with open_fleet(ScriptedShard(make_shard_update(3, epoch=1))) as old:
            fleet.clients = old.clients
            sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    assert "has epoch 1, but epoch 2 was received from" in sweep.outcomes[0].problem
    assert fleet.aggregates[3].version.epoch == 2


async def test_an_older_store_at_the_same_address_replaces_what_was_known() -> None:
    north = ScriptedShard(make_shard_update(3, 9, epoch=4))
    async with open_fleet(north) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)
        north.updates = (make_shard_update(3, 2, epoch=1),)
        sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    assert sweep.restarted_shard_ids == {3}
    assert fleet.aggregates[3].clusters.features.devices.tolist() == [2]


async def test_an_address_that_is_no_relay_answers_for_one_shard() -> None:
    both = ScriptedShard(make_shard_update(1), make_shard_update(2))
    async with open_fleet(both) as fleet:
        sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    assert sweep.outcomes[0].problem.startswith("answers for shards [1, 2]: name it in RELAY_ADDRS")
    assert fleet.aggregates == {}


async def test_a_stale_shard_behind_a_relay_is_known_but_not_fresh() -> None:
    relay = ScriptedShard(make_shard_update(1), make_shard_update(2), age_seconds=90)
    async with open_fleet(relay, are_relays=True) as fleet:
        sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    assert sorted(fleet.aggregates) == [1, 2]
    assert sweep.fresh_shard_ids == set()


async def test_terms_of_a_refused_update_are_not_remembered() -> None:
    async with open_fleet(ScriptedShard(make_shard_update(3, epoch=2))) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)
        evil = make_update(3, make_cluster_rows([1], [5], [{"film:evil": 5}]), epoch=1)
        async with open_fleet(ScriptedShard(evil)) as old:
            fleet.clients = old.clients
            sweep = await fleet.sweep(SUMS_ONLY, TIMEOUT)

    assert sweep.outcomes[0].is_refused
    assert "film:evil" not in fleet.terms.contents.texts


async def test_candidates_are_collected_when_they_were_asked_for() -> None:
    update = replace(make_shard_update(0), candidates=make_cluster_rows([1], [5]))
    async with open_fleet(ScriptedShard(update)) as fleet:
        sweep = await fleet.sweep(PullScope(8, 0.5), TIMEOUT)

    assert sweep.has_candidate_request
    assert len(sweep.candidates[0]) == 1


async def test_only_changed_aggregates_are_saved_and_a_failed_save_is_repeated() -> None:
    async with open_fleet(ScriptedShard(make_shard_update(0))) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)

    changes = fleet.take_changes()
    assert sorted(changes.written) == [0]
    assert fleet.take_changes().written == {}
    fleet.put_back(changes)
    assert sorted(fleet.take_changes().written) == [0]


async def test_a_restored_fleet_forgets_addresses_that_are_no_longer_configured() -> None:
    north, south = ScriptedShard(make_shard_update(0)), ScriptedShard(make_shard_update(1))
    async with open_fleet(north, south) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)
        stored = fleet.take_changes().written
        kept = [client for client in fleet.clients if client.address == fleet.aggregates[1].address]
        restored = Fleet(kept)

        unconfigured = restored.restore(stored)

    assert unconfigured == [0]
    assert sorted(restored.aggregates) == [1]
    assert restored.take_changes().written == {}


async def test_old_aggregates_are_not_usable() -> None:
    async with open_fleet(ScriptedShard(make_shard_update(0))) as fleet:
        await fleet.sweep(SUMS_ONLY, TIMEOUT)
    received_at = fleet.aggregates[0].received_at

    assert fleet.select_usable(received_at + 60, 60.0) == [fleet.aggregates[0]]
    assert fleet.select_usable(received_at + 61, 60.0) == []
