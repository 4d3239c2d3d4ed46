"""Federations above federations: what two levels make is what one makes, bit for bit."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.config import Interval
from constellation.errors import ConfigError
from constellation.v1 import aggregates_pb2
from constellation.v1 import federation_pb2 as pb
from federation.merge.result import ModelState, RoundInputs, compute_result
from federation.messages import from_result
from tests.conftest import run_shard
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.federation.test_rounds import pull_as_new_device

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.server import RunningShard
    from federation.server import RunningFederation

CLOSED_AT = 1_800_000_000


@asynccontextmanager
async def run_relay_tree(
    fleet: list[RunningShard], data_dir: Path | None = None
) -> AsyncIterator[tuple[RunningFederation, list[RunningFederation]]]:
    """Run two relays over half of the shards each, and a federation over both."""
    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(
                run_federation(
                    [get_address(each) for each in half],
                    relay=True,
                    data_dir=data_dir / f"relay-{number}" if data_dir else None,
                )
            )
            for number, half in enumerate((fleet[:2], fleet[2:]))
        ]
        above = await stack.enter_async_context(
            run_federation([], relay_addrs=[get_address(each) for each in relays])
        )
        yield above, relays


async def fill_shards(fleet: list[RunningShard], first: int = 0) -> None:
    for position, shard in enumerate(fleet):
        numbers = range(first + 100 * position, first + 100 * position + 12)
        await push_devices(shard, [make_drama_device(number, 1 + number % 3) for number in numbers])


async def compute_result_bytes(
    federation: RunningFederation, memory: ModelState, generation: int = 1
) -> bytes:
    """Return what a round would publish now, without publishing it."""
    rounds, rules = federation.rounds, federation.rounds._rules
    rounds._model_state = memory
    sweep = await rounds.sweep(rounds._make_candidate_request())
    fleet = rounds.fleet
    inputs = RoundInputs(
        1,
        CLOSED_AT,
        [fleet.aggregates[shard_id] for shard_id in sorted(sweep.fresh_shard_ids)],
        sweep.candidates if sweep.has_candidate_request else None,
        (fleet.contents, fleet.genres),
        generation,
    )
    result = compute_result(inputs, memory, rules)
    rounds._model_state = result.model_state
    return from_result(result, (1, 1, CLOSED_AT), aggregates_pb2.Coverage())


async def test_two_levels_make_what_one_makes_bit_for_bit() -> None:
    async with run_shards(4) as fleet:
        await fill_shards(fleet)
        async with (
            run_federation([get_address(each) for each in fleet]) as flat,
            run_relay_tree(fleet) as (above, _),
        ):
            first = (
                await compute_result_bytes(flat, ModelState()),
                await compute_result_bytes(above, ModelState()),
            )
            await run_round(above)  # shards have a codebook now
            await fill_shards(fleet, first=50)  # increments
            memory, generation = above.rounds._model_state, above.rounds._generation
            second = [
                await compute_result_bytes(each, memory, generation) for each in (flat, above)
            ]

    assert first[0] == first[1]
    assert second[0] == second[1]
    clusters = [aggregates_pb2.Global.FromString(each[0]).clusters for each in (first, second)]
    assert [list(each.devices) for each in clusters] == [[16, 16, 16], [32, 32, 32]]


async def test_a_global_goes_down_through_relays_to_every_shard(tmp_path: Path) -> None:
    async with run_shards(4) as fleet:
        await fill_shards(fleet)
        async with run_relay_tree(fleet, tmp_path) as (above, relays):
            told = await run_round(above)

            held = [each.manager.global_state.round for each in fleet]
            below = await relays[0].rounds.get_round(0)
            given = await pull_as_new_device(fleet[3])

        assert told.coverage.shards_fresh == 4
        assert told.coverage.devices_fresh == 48
        assert [[each.shard_id for each in shard.versions] for shard in told.shards] in (
            [[0, 1], [2, 3]],
            [[2, 3], [0, 1]],
        )
        assert {(each.generation, each.round_id) for each in held} == {(told.generation, 1)}
        assert below is not None
        assert below.state == pb.ROUND_STATE_PUBLISHED
        assert given.cluster_count == 3


async def test_a_shard_behind_a_relay_that_is_away_is_aged_above() -> None:
    async with run_shards(3) as fleet:
        async with AsyncExitStack() as stack:
            gone = await stack.enter_async_context(run_shard(shard_id=3))
            every = [*fleet, gone]
            await fill_shards(every)
            opening = run_relay_tree(every)
            above, relays = await opening.__aenter__()
            for relay in relays:
                relay.rounds.policy = type(relay.rounds.policy)(
                    is_relay=True, pull_timeout_seconds=1.0
                )
            await run_round(above)
        told = await run_round(above)
        await opening.__aexit__(None, None, None)

    assert (told.coverage.shards_fresh, told.coverage.shards_stale) == (3, 1)
    assert told.coverage.devices_total == 48


async def test_a_relay_runs_no_rounds_and_a_federation_relays_nothing() -> None:
    async with run_shards(2) as fleet:
        addresses = [get_address(each) for each in fleet]
        async with run_federation(addresses, relay=True) as relay, run_federation(addresses) as own:
            with pytest.raises(grpc.aio.AioRpcError, match="RELAY is 1"):
                await run_round(relay)
            with pytest.raises(ConfigError, match="RELAY is 0"):
                await own.rounds.relay_global(None)  # type: ignore[arg-type]  # it is not looked at
            async with run_federation(
                [], relay_addrs=[get_address(own)], pull_timeout_seconds=Interval(1)
            ) as above:
                with pytest.raises(grpc.aio.AioRpcError, match="0 of 1 shards"):
                    await run_round(above)
                told = await above.rounds.get_round(0)

    assert told is not None
    assert "RELAY is 0" in told.shards[0].problem
