"""Federations above federations: what two levels make is what one makes, bit for bit."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.config import Interval
from constellation.errors import WrongRoleError
from constellation.v1 import aggregates_pb2
from federation.merge.codebook import compute_residual_cosine
from federation.merge.published_clusters import RoundStamp
from federation.merge.result import ModelState, RoundInputs, compute_result
from federation.messages import parse_model_state, serialise_model_state, serialise_result
from federation.round_report import Coverage, RoundState
from federation.server import to_round_rules
from federation.shards.client import PullScope
from tests.conftest import run_shard
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    make_federation_config,
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


async def compute_next_result(
    federation: RunningFederation, model_state: ModelState, generation: int
) -> bytes:
    """Return what the next round would publish after this model state, without publishing it."""
    request = PullScope()
    if model_state.codebook is None:
        request = PullScope(256, compute_residual_cosine(None))
    sweep = await federation.rounds.sweep(request)
    fleet, stamp = federation.rounds.fleet, RoundStamp(generation, 2, CLOSED_AT)
    inputs = RoundInputs(
        stamp,
        [fleet.aggregates[shard_id] for shard_id in sorted(sweep.fresh_shard_ids)],
        sweep.candidates if sweep.has_candidate_request else None,
        fleet.terms,
    )
    result = compute_result(inputs, model_state, to_round_rules(make_federation_config([])))
    return serialise_result(result, stamp, Coverage())


def read_model_state(federation: RunningFederation) -> tuple[ModelState, int]:
    """Return the model state after the last round, and the generation of its codebook."""
    last = federation.rounds.last_global
    assert last is not None
    stored = serialise_model_state(ModelState(reanchored_at=float(CLOSED_AT)))
    return parse_model_state(stored, last.payload), last.generation


async def test_two_levels_make_what_one_makes_bit_for_bit() -> None:
    async with run_shards(4) as fleet:
        await fill_shards(fleet)
        async with (
            run_federation([get_address(each) for each in fleet]) as flat,
            run_relay_tree(fleet) as (above, _),
        ):
            first = [await compute_next_result(each, ModelState(), 1) for each in (flat, above)]
            await run_round(above)  # gives the shards a codebook
            await fill_shards(fleet, first=50)  # what follows are increments
            model_state, generation = read_model_state(above)
            second = [
                await compute_next_result(each, model_state, generation) for each in (flat, above)
            ]

    assert first[0] == first[1]
    assert second[0] == second[1]
    clusters = [aggregates_pb2.Global.FromString(each[0]).clusters for each in (first, second)]
    assert [list(each.devices) for each in clusters] == [[16, 16, 16], [32, 32, 32]]


async def test_a_global_goes_down_through_relays_to_every_shard(tmp_path: Path) -> None:
    async with run_shards(4) as fleet:
        await fill_shards(fleet)
        async with run_relay_tree(fleet, tmp_path) as (above, relays):
            report = await run_round(above)

            received = [each.manager.global_state.round for each in fleet]
            below = await relays[0].rounds.get_round(0)
            update = await pull_as_new_device(fleet[3])

        assert report.coverage.shards_fresh == 4
        assert report.coverage.devices_fresh == 48
        assert [[each.shard_id for each in shard.versions] for shard in report.shards] in (
            [[0, 1], [2, 3]],
            [[2, 3], [0, 1]],
        )
        assert {(each.generation, each.round_id) for each in received} == {(report.generation, 1)}
        assert below is not None
        assert below.state is RoundState.PUBLISHED
        assert update.cluster_count == 3


async def test_an_unavailable_shard_behind_a_relay_is_stale_above() -> None:
    async with run_shards(3) as fleet, AsyncExitStack() as federations:
        async with run_shard(shard_id=3) as stopped:
            every = [*fleet, stopped]
            await fill_shards(every)
            above, relays = await federations.enter_async_context(run_relay_tree(every))
            for relay in relays:
                relay.rounds.policy = replace(relay.rounds.policy, pull_timeout_seconds=1.0)
            await run_round(above)
        report = await run_round(above)

    assert (report.coverage.shards_fresh, report.coverage.shards_stale) == (3, 1)
    assert report.coverage.devices_total == 48
    (behind,) = [each for shard in report.shards for each in shard.unavailable]
    assert behind.address == get_address(stopped)
    assert list(behind.shard_ids) == [3]
    assert behind.problem.startswith("UNAVAILABLE")


async def test_a_shard_behind_a_relay_that_never_answered_is_shown_and_counted() -> None:
    async with run_shards(2) as fleet:
        await fill_shards(fleet)
        addresses = [*(get_address(each) for each in fleet), "127.0.0.1:1"]
        async with (
            run_federation(addresses, relay=True, pull_timeout_seconds=Interval(1)) as relay,
            run_federation([], relay_addrs=[get_address(relay)]) as above,
        ):
            report = await run_round(above)

    assert (report.coverage.shards_fresh, report.coverage.shards_total) == (2, 3)
    (behind,) = report.shards[0].unavailable
    assert (behind.address, list(behind.shard_ids)) == ("127.0.0.1:1", [])


async def test_a_relay_that_hears_no_shard_says_so_above() -> None:
    async with (
        run_federation(["127.0.0.1:1"], relay=True, pull_timeout_seconds=Interval(1)) as relay,
        run_federation(
            [], relay_addrs=[get_address(relay)], pull_timeout_seconds=Interval(5)
        ) as above,
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="0 of 1 shards"):
            await run_round(above)
        report = await above.rounds.get_round(0)

    assert report is not None
    assert "this relay hears no shard: 127.0.0.1:1: UNAVAILABLE" in report.shards[0].problem


async def test_a_relay_runs_no_rounds_and_a_federation_relays_nothing() -> None:
    async with run_shards(2) as fleet:
        addresses = [get_address(each) for each in fleet]
        async with run_federation(addresses, relay=True) as relay, run_federation(addresses) as own:
            with pytest.raises(grpc.aio.AioRpcError, match="RELAY is 1"):
                await run_round(relay)
            with pytest.raises(WrongRoleError, match="RELAY is 0"):
                await own.rounds.relay_global(None)  # type: ignore[arg-type]  # it is not read
            async with run_federation(
                [], relay_addrs=[get_address(own)], pull_timeout_seconds=Interval(1)
            ) as above:
                with pytest.raises(grpc.aio.AioRpcError, match="0 of 1 shards"):
                    await run_round(above)
                report = await above.rounds.get_round(0)

    assert report is not None
    assert "RELAY is 0" in report.shards[0].problem
