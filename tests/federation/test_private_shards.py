"""Real shards in the differentially private mode: what one device adds, and what devices get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.config import Count, NonNegative, Ratio, Seconds
from constellation.errors import ConfigError
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from federation.shards.client import PullScope
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.federation.fleet import HOUR, get_address, run_federation, run_round
from tests.sharing import add_to_catalogue
from tests.sync_client import make_delta_message, make_pull, make_push

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard
    from constellation.v1 import patterns_pb2
    from federation.merge.aggregates import ShardAggregate
    from federation.server import RunningFederation

LIKED_LIMIT, HOURLY_LIMIT = 5, 2
SHARD: dict[str, Any] = {
    "differential_privacy": True,
    "related_liked": Count(LIKED_LIMIT),
    "signals_per_hour": Count(HOURLY_LIMIT),
    "k_anonymity": Count(2),
}


def make_settings(data_dir: Path) -> dict[str, Any]:
    return {
        "data_dir": data_dir,
        "privacy_epsilon": NonNegative(64),
        "privacy_delta": Ratio(1e-6),
        "related_interval_secs": Seconds(0),
        "min_shards": Count(1),
    }


async def push(shard: RunningShard, number: int, seq: int = 1, **parts: Any) -> None:
    async with grpc.aio.insecure_channel(get_address(shard)) as channel:
        stub: Any = SyncServiceStub(channel)
        delta = make_delta_message(seq, parts.pop("patterns", ()), snapshot=seq == 1, **parts)
        await stub.Exchange(make_push(number, delta))


async def pull_update(shard: RunningShard, number: int) -> patterns_pb2.GlobalUpdate:
    async with grpc.aio.insecure_channel(get_address(shard)) as channel:
        stub: Any = SyncServiceStub(channel)
        update: patterns_pb2.GlobalUpdate = (await stub.Exchange(make_pull(number))).update
        return update


async def pull_aggregate(running: RunningFederation) -> ShardAggregate:
    await running.rounds.sweep(PullScope(include_likes=True))
    return running.rounds.fleet.aggregates[0]


async def test_a_device_that_tries_more_adds_no_more_than_the_bounds(tmp_path: Path) -> None:
    async with (
        run_shard(**SHARD) as shard,
        run_federation([get_address(shard)], **make_settings(tmp_path)) as up,
    ):
        for number in range(30):  # others, so that there is a dictionary
            await push(shard, number, liked=[f"film:{each}" for each in range(20)])
        await run_round(up)
        before = await pull_aggregate(up)
        await push(shard, 99, liked=[f"film:{each}" for each in range(19, -1, -1)])
        for seq in range(2, 6):
            signals = [(f"film:{each}", HOUR - 1) for each in range(4 * seq)] * 2
            await push(shard, 99, seq, signals=signals)
        after = await pull_aggregate(up)

    assert before.likes is not None
    assert after.likes is not None
    added = int(after.likes.devices.sum() - before.likes.devices.sum())
    assert added == after.likes.liked_limit == LIKED_LIMIT
    pairs = int(after.likes.pairs.devices.sum()) - int(before.likes.pairs.devices.sum())
    assert len(after.likes.pairs) > 0
    assert pairs <= LIKED_LIMIT * (LIKED_LIMIT - 1) // 2
    assert after.hours.counts.sum() == after.header.hourly_limit == HOURLY_LIMIT
    assert after.hours.counts.max() == 1  # complete: also what a single device watched


async def test_a_shard_with_a_floor_does_not_claim_to_be_complete() -> None:
    async with (
        run_shard(k_anonymity=Count(2)) as shard,
        run_federation([get_address(shard)], min_shards=Count(1)) as up,
    ):
        await push(shard, 1, signals=[("film:1", HOUR - 1)])
        aggregate = await pull_aggregate(up)

    assert not aggregate.header.is_complete
    assert not aggregate.hours.counts.sum()


async def test_devices_get_nothing_of_single_devices() -> None:
    patterns = [PatternSpec(0, 1, 0.95, 16, contents=("film:1",))]
    found = {}
    for is_private in (False, True):
        settings = {**SHARD, "differential_privacy": is_private}
        async with run_shard(**settings) as shard:
            await add_to_catalogue(shard.manager, {"film:1": 1})
            for number in range(12):
                await push(shard, number, patterns=patterns, signals=[("film:1", HOUR)])
            for _ in range(2):
                await shard.manager.sharing.run_epoch(HOUR * 3600.0)
            await shard.manager.publish_trends(HOUR * 3600.0)
            update = await pull_update(shard, 0)
            found[is_private] = (len(update.similar.ids) > 0, len(update.trends) > 0)

    assert found == {False: (True, True), True: (False, False)}


async def test_a_shard_refuses_what_was_published_without_noise() -> None:
    async with (
        run_shard(**SHARD) as shard,
        run_federation([get_address(shard)], min_shards=Count(1)) as exact,
    ):
        report = await run_round(exact)
        assert shard.manager.global_state.published is None

    assert "set its PRIVACY_EPSILON" in report.shards[0].publish_problem


async def test_noise_reaches_a_device_through_a_real_shard(tmp_path: Path) -> None:
    liked = [[f"film:{(number + each) % 8}" for each in range(4)] for number in range(80)]
    async with (
        run_shard(**SHARD) as shard,
        run_federation([get_address(shard)], **make_settings(tmp_path)) as up,
    ):
        for number, contents in enumerate(liked):
            await push(shard, number, liked=contents)
        for _ in range(2):
            await run_round(up)
        update = await pull_update(shard, 0)
        exact = {f"film:{each}": 40 for each in range(8)}

    (popular,) = update.popular
    assert popular.region == ""
    assert set(popular.content_ids) <= set(exact)
    assert len(popular.content_ids) > 4
    assert np.abs(np.array(popular.households, int) - 40).max() < 15
    assert update.related.ids


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"relay": True}, "PRIVACY_EPSILON is for the federation that runs the rounds"),
        ({"privacy_delta": Ratio(0.0)}, "PRIVACY_DELTA must be above 0"),
        ({"data_dir": None}, "PRIVACY_EPSILON needs DATA_DIR or POSTGRES_URL"),
    ],
)
async def test_settings_that_promise_nothing_are_refused(
    settings: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        async with run_federation(["127.0.0.1:1"], **{**make_settings(tmp_path), **settings}):
            pass
