"""AggregateService of a shard: what it refuses, what survives a restart, what it answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.config import Address
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import shard_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.conftest import run_shard
from tests.deltas import PatternSpec, embedding
from tests.federation.fleet import HOUR, SampleDevice, make_drama_device, push_devices
from tests.polling import wait_until
from tests.transport.services.globals import make_codebook, make_global, publish, pull, to_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.server import RunningShard


async def test_a_later_round_replaces_an_earlier_one_and_nothing_else_does(
    channel: grpc.aio.Channel,
) -> None:
    sent = [(5, 2), (5, 2), (5, 1), (5, 3), (4, 9), (6, 1)]

    answers = [await publish(channel, to_frames(make_global(r, g))) for g, r in sent]

    assert [each.applied for each in answers] == [True, False, False, True, False, True]
    assert (answers[-1].generation, answers[-1].round_id) == (6, 1)


async def test_globals_are_received_one_at_a_time(channel: grpc.aio.Channel) -> None:
    frames = list(to_frames(make_global(3)))
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def send_slowly() -> AsyncIterator[pb.PublishGlobalRequest]:
        yield frames[0]
        has_begun.set()
        await may_end.wait()
        for frame in frames[1:]:
            yield frame

    first = asyncio.create_task(publish(channel, send_slowly()))
    await has_begun.wait()
    await ask_something_else(channel)
    second = asyncio.create_task(publish(channel, to_frames(make_global(2))))
    await ask_something_else(channel)
    assert not second.done()
    may_end.set()

    answers = await asyncio.gather(first, second)

    assert [each.applied for each in answers] == [True, False]


async def ask_something_else(channel: grpc.aio.Channel) -> None:
    """Return once the calls before this one have reached the shard."""
    stub: Any = ShardServiceStub(channel)
    await stub.GetInfo(shard_pb2.GetInfoRequest())


async def test_a_global_survives_a_restart_and_patterns_are_summed_up_again(
    tmp_path: Path,
) -> None:
    async with run_shard(data_dir=tmp_path) as shard:
        address = Address(f"127.0.0.1:{shard.port}")
        await push_devices(shard, [make_drama_device(number) for number in range(3)])
        async with grpc.aio.insecure_channel(address) as channel:
            await publish(channel, to_frames(make_global(7)))
            before = await pull(channel)
    async with (
        run_shard(data_dir=tmp_path) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        again = await publish(channel, to_frames(make_global(7)))
        after = await pull(channel, known_versions=[before[0].version])
        stub: Any = ShardServiceStub(channel)
        stats = await stub.GetStats(shard_pb2.GetStatsRequest())

    assert not again.applied
    assert (stats.round_id, stats.codebook_version) == (7, 1)
    assert after[0].header.base_version == 0  # another epoch: everything
    assert after[1].clusters.sums == before[1].clusters.sums
    assert after[1].clusters.devices == [3]


async def test_a_pull_answers_with_what_changed(
    channel: grpc.aio.Channel, shard: RunningShard
) -> None:
    await push_devices(shard, [make_drama_device(number, 1 + number % 2) for number in range(4)])
    await publish(channel, to_frames(make_global()))
    whole = await pull(channel)
    await push_devices(
        shard,
        [SampleDevice(0, [PatternSpec(0, 1, 1.0, 16)], [("film:1", HOUR)])],
        seq=2,
    )

    more = await pull(channel, known_versions=[whole[0].version])

    assert whole[0].header.cluster_count == 2
    assert whole[0].header.hour_count == 2
    assert more[0].header.cluster_count == 1
    assert more[1].clusters.cluster_ids == [1]
    assert more[0].version.version == whole[0].version.version + 1
    assert more[0].header.base_version == whole[0].version.version


async def test_a_new_codebook_is_taken_into_use_beside_the_commits(
    channel: grpc.aio.Channel, shard: RunningShard
) -> None:
    await push_devices(shard, [make_drama_device(number, 1 + number % 3) for number in range(6)])
    await publish(channel, to_frames(make_global(1)))
    first = await pull(channel)
    await publish(channel, to_frames(make_global(2, codebook=make_codebook(2, 3))))
    stub: Any = ShardServiceStub(channel)

    async def switched() -> bool:
        stats = await stub.GetStats(shard_pb2.GetStatsRequest())
        return bool(stats.codebook_version == 2)

    await wait_until(switched)
    second = await pull(channel, known_versions=[first[0].version])

    assert first[0].header.cluster_count == 2
    assert second[0].header.codebook_version == 2
    assert second[0].header.codebook_effective_version > first[0].version.version
    assert second[1].clusters.devices == [2, 2, 2]


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"max_candidates": 5000}, "max_candidates must be at most 4096"),
        ({"max_candidates": 1, "residual_cosine": 2.0}, "residual_cosine must be from 0 to 1"),
        ({"known_versions": [pb.AggregateVersion(shard_id=0)]}, "epoch from 1"),
    ],
)
async def test_a_pull_that_makes_no_sense_is_refused(
    channel: grpc.aio.Channel, request_: dict[str, Any], problem: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=problem):
        await pull(channel, **request_)


async def test_no_chunk_is_larger_than_a_mebibyte(
    channel: grpc.aio.Channel, shard: RunningShard
) -> None:
    contents = tuple(f"{number:064d}" for number in range(16))
    await push_devices(
        shard,
        [
            SampleDevice(
                each, [PatternSpec(n, 10 * each + n, 0.9, 16, (), contents) for n in range(30)]
            )
            for each in range(20)
        ],
    )
    anchors = np.stack([embedding(n) for n in range(400)]).astype("<f4")
    book = pb.Codebook(version=1, cluster_ids=range(1, 401), anchors=anchors.tobytes())
    await publish(channel, to_frames(make_global(codebook=book)))

    chunks = await pull(channel)

    assert sum(len(each.clusters.cluster_ids) for each in chunks) > 100
    assert max(each.ByteSize() for each in chunks) <= 1 << 20
