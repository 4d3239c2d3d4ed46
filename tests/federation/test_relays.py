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
from federation.merge.result import Inputs, Memory, work_out
from federation.messages import from_result
from tests.conftest import running
from tests.federation.fleet import (
    address_of,
    drama,
    federating,
    push,
    run_round,
    shards,
)
from tests.federation.test_rounds import cold_start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.server import RunningShard
    from federation.server import RunningFederation

CLOSED_AT = 1_800_000_000


@asynccontextmanager
async def world(
    fleet: list[RunningShard], data_dir: Path | None = None
) -> AsyncIterator[tuple[RunningFederation, list[RunningFederation]]]:
    """Run two relays over half of the shards each, and a federation over both."""
    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(
                federating(
                    [address_of(each) for each in half],
                    relay=True,
                    data_dir=data_dir / f"relay-{number}" if data_dir else None,
                )
            )
            for number, half in enumerate((fleet[:2], fleet[2:]))
        ]
        above = await stack.enter_async_context(
            federating([], relay_addrs=[address_of(each) for each in relays])
        )
        yield above, relays


async def filled(fleet: list[RunningShard], first: int = 0) -> None:
    for place, shard in enumerate(fleet):
        numbers = range(first + 100 * place, first + 100 * place + 12)
        await push(shard, [drama(number, 1 + number % 3) for number in numbers])


async def result_of(federation: RunningFederation, memory: Memory, generation: int = 1) -> bytes:
    """Return what a round would publish now, without publishing it."""
    rounds, rules = federation.rounds, federation.rounds._rules
    rounds._memory = memory
    heard = await rounds.sweep(rounds._wanted())
    fleet = rounds.fleet
    inputs = Inputs(
        1,
        CLOSED_AT,
        [fleet.aggregates[shard_id] for shard_id in sorted(heard.fresh)],
        heard.candidates if heard.asked else None,
        (fleet.contents, fleet.genres),
        generation,
    )
    result = work_out(inputs, memory, rules)
    rounds._memory = result.memory
    return from_result(result, (1, 1, CLOSED_AT), aggregates_pb2.Coverage())


async def test_two_levels_make_what_one_makes_bit_for_bit() -> None:
    async with shards(4) as fleet:
        await filled(fleet)
        async with (
            federating([address_of(each) for each in fleet]) as flat,
            world(fleet) as (above, _),
        ):
            first = await result_of(flat, Memory()), await result_of(above, Memory())
            await run_round(above)  # shards have a codebook now
            await filled(fleet, first=50)  # increments
            memory, generation = above.rounds._memory, above.rounds._generation
            second = [await result_of(each, memory, generation) for each in (flat, above)]

    assert first[0] == first[1]
    assert second[0] == second[1]
    clusters = [aggregates_pb2.Global.FromString(each[0]).clusters for each in (first, second)]
    assert [list(each.devices) for each in clusters] == [[16, 16, 16], [32, 32, 32]]


async def test_a_global_goes_down_through_relays_to_every_shard(tmp_path: Path) -> None:
    async with shards(4) as fleet:
        await filled(fleet)
        async with world(fleet, tmp_path) as (above, relays):
            told = await run_round(above)

            held = [each.manager.globals.round for each in fleet]
            below = await relays[0].rounds.get(0)
            given = await cold_start(fleet[3])

        assert told.coverage.shards_heard == 4
        assert told.coverage.devices_heard == 48
        assert [[each.shard_id for each in shard.versions] for shard in told.shards] in (
            [[0, 1], [2, 3]],
            [[2, 3], [0, 1]],
        )
        assert {(each.generation, each.round_id) for each in held} == {(told.generation, 1)}
        assert below is not None
        assert below.state == pb.ROUND_STATE_PUBLISHED
        assert given.cluster_count == 3


async def test_a_shard_behind_a_relay_that_is_away_is_aged_above() -> None:
    async with shards(3) as fleet:
        async with AsyncExitStack() as stack:
            gone = await stack.enter_async_context(running(shard_id=3))
            every = [*fleet, gone]
            await filled(every)
            opening = world(every)
            above, relays = await opening.__aenter__()
            for relay in relays:
                relay.rounds.pace = type(relay.rounds.pace)(relay=True, pull_timeout_seconds=1.0)
            await run_round(above)
        told = await run_round(above)
        await opening.__aexit__(None, None, None)

    assert (told.coverage.shards_heard, told.coverage.shards_aged) == (3, 1)
    assert told.coverage.devices_known == 48


async def test_a_relay_runs_no_rounds_and_a_federation_relays_nothing() -> None:
    async with shards(2) as fleet:
        addresses = [address_of(each) for each in fleet]
        async with federating(addresses, relay=True) as relay, federating(addresses) as own:
            with pytest.raises(grpc.aio.AioRpcError, match="RELAY is 1"):
                await run_round(relay)
            with pytest.raises(ConfigError, match="RELAY is 0"):
                await own.rounds.relay(None)  # type: ignore[arg-type]  # it is not looked at
            async with federating(
                [], relay_addrs=[address_of(own)], pull_timeout_seconds=Interval(1)
            ) as above:
                with pytest.raises(grpc.aio.AioRpcError, match="0 of 1 shards"):
                    await run_round(above)
                told = await above.rounds.get(0)

    assert told is not None
    assert "RELAY is 0" in told.shards[0].problem
