"""AggregateService of a shard: what it refuses, what survives a restart, what it answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.config import Address
from constellation.federated.published import RoundKey
from constellation.transport.calls.status import MAX_IGNORED_BYTES
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import patterns_pb2, shard_pb2
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.conftest import run_shard
from tests.deltas import PatternSpec, embedding
from tests.federation.fleet import HOUR, SampleDevice, make_drama_device, push_devices
from tests.polling import wait_until
from tests.sync_client import read_error_reason, to_columns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from constellation.server import RunningShard


def make_codebook(version: int = 1, directions: int = 2) -> pb.Codebook:
    anchors = np.stack([embedding(1 + number) for number in range(directions)]).astype("<f4")
    return pb.Codebook(
        version=version, cluster_ids=range(1, directions + 1), anchors=anchors.tobytes()
    )


def make_global(round_id: int = 1, generation: int = 5, **parts: Any) -> pb.Global:
    clusters = pb.GlobalClusters()
    clusters.patterns.encoding = patterns_pb2.ENCODING_INT8
    return pb.Global(
        generation=generation,
        round_id=round_id,
        **{"codebook": make_codebook(), "clusters": clusters, **parts},
    )


def to_frames(message: pb.Global, **header: Any) -> Iterator[pb.PublishGlobalRequest]:
    payload = message.SerializeToString()
    named = {
        "generation": message.generation,
        "round_id": message.round_id,
        "size_bytes": len(payload),
        "sha256": sha256(payload).digest(),
    }
    yield pb.PublishGlobalRequest(header=pb.GlobalHeader(**{**named, **header}))
    for start in range(0, len(payload), 1000):
        yield pb.PublishGlobalRequest(chunk=payload[start : start + 1000])


async def publish(channel: grpc.aio.Channel, sent: Any) -> pb.PublishGlobalResponse:
    answer: pb.PublishGlobalResponse = await AggregateServiceStub(channel).PublishGlobal(sent)
    return answer


async def pull(channel: grpc.aio.Channel, **request: Any) -> list[pb.PullAggregateResponse]:
    call = AggregateServiceStub(channel).PullAggregate(pb.PullAggregateRequest(**request))
    return [chunk async for chunk in call]


async def test_a_later_round_replaces_an_earlier_one_and_nothing_else_does(
    channel: grpc.aio.Channel,
) -> None:
    sent = [(5, 2), (5, 2), (5, 1), (5, 3), (4, 9), (6, 1)]

    answers = [await publish(channel, to_frames(make_global(r, g))) for g, r in sent]

    assert [each.applied for each in answers] == [True, False, False, True, False, True]
    assert (answers[-1].generation, answers[-1].round_id) == (6, 1)


async def test_an_older_global_is_not_even_parsed(
    channel: grpc.aio.Channel, shard: RunningShard
) -> None:
    await publish(channel, to_frames(make_global(9)))
    garbage = b"\xff" * 5000
    header = pb.GlobalHeader(generation=5, round_id=9, size_bytes=7, sha256=b"wrong")
    chunks = [pb.PublishGlobalRequest(chunk=garbage) for _ in range(3)]

    answer = await publish(channel, iter([pb.PublishGlobalRequest(header=header), *chunks]))

    assert not answer.applied
    assert shard.manager.global_state.round == RoundKey(5, 9)


async def test_a_round_that_would_keep_the_true_ones_out_is_refused(
    channel: grpc.aio.Channel, shard: RunningShard
) -> None:
    in_an_hour = int((time.time() + 3600) * 1000)
    with pytest.raises(grpc.aio.AioRpcError, match="generation is the time at which a journal"):
        await publish(channel, to_frames(make_global(1, in_an_hour)))
    an_hour_ago = int((time.time() - 3600) * 1000)
    with pytest.raises(grpc.aio.AioRpcError, match=r"round_id must be at most 139\d\d, as old as"):
        await publish(channel, to_frames(make_global(14_000, an_hour_ago)))

    # A shard that was away for long takes the next round, however far that is.
    assert (await publish(channel, to_frames(make_global(7, an_hour_ago)))).applied
    assert (await publish(channel, to_frames(make_global(13_000, an_hour_ago)))).applied
    assert shard.manager.global_state.round == RoundKey(an_hour_ago, 13_000)


def make_refused_frames(chunks: Iterator[int]) -> Iterator[pb.PublishGlobalRequest]:
    """Yield a header that is refused, and half a mebibyte for each chunk."""
    yield pb.PublishGlobalRequest(header=pb.GlobalHeader(generation=2**62, sha256=bytes(32)))
    for _ in chunks:
        yield pb.PublishGlobalRequest(chunk=bytes(1 << 19))


async def test_a_federation_that_is_still_writing_learns_why_its_global_is_refused(
    channel: grpc.aio.Channel,
) -> None:
    calls = [
        AggregateServiceStub(channel).PublishGlobal(make_refused_frames(iter(range(20))))
        for _ in range(8)
    ]

    codes = [await call.code() for call in calls]
    reasons = [await read_error_reason(call) for call in calls]

    assert set(codes) == {grpc.StatusCode.INVALID_ARGUMENT}
    assert set(reasons) == {"INVALID_INPUT"}


async def test_a_caller_that_writes_for_ever_is_not_listened_to_for_ever(
    channel: grpc.aio.Channel,
) -> None:
    written = itertools.count()

    call = AggregateServiceStub(channel).PublishGlobal(make_refused_frames(written))

    async with asyncio.timeout(20):
        assert await call.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL}
    assert next(written) * (1 << 19) < 3 * MAX_IGNORED_BYTES


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


def drop_last_frame(message: pb.Global) -> list[pb.PublishGlobalRequest]:
    return list(to_frames(message))[:-1]


def drop_header(message: pb.Global) -> list[pb.PublishGlobalRequest]:
    return list(to_frames(message))[1:]


def repeat_last_frame(message: pb.Global) -> list[pb.PublishGlobalRequest]:
    sent = list(to_frames(message))
    return [*sent, sent[-1]]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (drop_last_frame, "must add up to"),
        (drop_header, "header first"),
        (repeat_last_frame, "bytes in all"),
        (lambda _: [], "got no frame"),
        (lambda each: list(to_frames(each, sha256=bytes(32))), "SHA-256"),
        (lambda each: list(to_frames(each, size_bytes=1 << 40)), "size_bytes must be at most"),
        (lambda each: list(to_frames(each, round_id=0)), "round_id must be from 1"),
        (lambda each: list(to_frames(each, generation=2**63)), "generation must be from 1"),
    ],
)
async def test_a_global_whose_chunks_do_not_add_up_is_refused(
    channel: grpc.aio.Channel,
    shard: RunningShard,
    spoil: Callable[[pb.Global], list[pb.PublishGlobalRequest]],
    problem: str,
) -> None:
    call = AggregateServiceStub(channel).PublishGlobal(iter(spoil(make_global())))

    with pytest.raises(grpc.aio.AioRpcError, match=problem):
        await call

    assert await read_error_reason(call) == "INVALID_INPUT"
    assert shard.manager.global_state.published is None


def shorten_anchors(message: pb.Global) -> None:
    message.codebook.anchors = message.codebook.anchors[:-4]


def denormalize_anchors(message: pb.Global) -> None:
    message.codebook.anchors = np.full((2, 384), 3, "<f4").tobytes()


def set_nan_anchors(message: pb.Global) -> None:
    message.codebook.anchors = np.full((2, 384), np.nan, "<f4").tobytes()


def duplicate_cluster_ids(message: pb.Global) -> None:
    message.codebook.cluster_ids[:] = [2, 2]


def shorten_pattern_ids(message: pb.Global) -> None:
    message.clusters.patterns.ids = bytes(16)


def add_undirected_trend(message: pb.Global) -> None:
    message.trends.add(content_id="a")


def spoil_cluster(**fields: Any) -> Callable[[pb.Global], None]:
    """Return a function that publishes one cluster with some columns wrong."""

    def spoil(message: pb.Global) -> None:
        columns = to_columns([PatternSpec(1, 1, genres=("Drama",))])
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(columns, name)[:] = value
            else:
                setattr(columns, name, value)
        message.clusters.patterns.CopyFrom(columns)

    return spoil


def spoil_trend(**fields: Any) -> Callable[[pb.Global], None]:
    def spoil(message: pb.Global) -> None:
        named = {"content_id": "film:1", "score": 1.0, "direction": 1, **fields}
        message.trends.add(**named)

    return spoil


def add_too_many_trends(message: pb.Global) -> None:
    for _ in range(5001):
        message.trends.add(content_id="film:1", direction=patterns_pb2.TREND_DIRECTION_RISING)


WRONG_CLUSTERS = (
    ({"success_rates": [float("nan")]}, "success_rates must be from 0 to 1"),
    ({"success_rates": [1.5]}, "success_rates must be from 0 to 1"),
    ({"times_of_day": b"\xc8"}, "times_of_day must be at most 4 each, got 200"),
    ({"genre_counts": b"\xff"}, "genre_counts must be at most 8 each, got 255"),
    ({"genres": ["\x1b[2J"]}, "genres must be printable text"),
    ({"genres": ["x" * 300_000]}, "genres must be from 1 to 64 bytes"),
    ({"embeddings": bytes(388)}, "embeddings must not be all zeros"),
)
WRONG_TRENDS = (
    ({"score": float("nan")}, "trends.score must be a finite number"),
    ({"popularity": float("inf")}, "trends.popularity must be a finite number"),
    ({"content_id": "a\x00b"}, "trends.content_id must be printable text"),
    ({"genre": "x" * 65}, "trends.genre must be from 1 to 64 bytes"),
    ({"region": "\x1b]0;owned\x07"}, "trends.region must be printable text"),
)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (shorten_anchors, "codebook.anchors must be 2 rows"),
        (denormalize_anchors, "codebook.anchors must be of unit length"),
        (set_nan_anchors, "codebook.anchors must be of unit length"),
        (duplicate_cluster_ids, "cluster_ids must be ascending"),
        (shorten_pattern_ids, "patterns.embeddings must be 1 rows"),
        (add_undirected_trend, "trends.direction must be 1, 2 or 3"),
        *((spoil_cluster(**fields), problem) for fields, problem in WRONG_CLUSTERS),
        *((spoil_trend(**fields), problem) for fields, problem in WRONG_TRENDS),
        (add_too_many_trends, "trends must have at most 5000 entries, got 5001"),
    ],
)
async def test_a_global_that_makes_no_sense_is_refused(
    channel: grpc.aio.Channel,
    shard: RunningShard,
    spoil: Callable[[pb.Global], None],
    problem: str,
) -> None:
    message = make_global()
    spoil(message)

    with pytest.raises(grpc.aio.AioRpcError, match=problem):
        await publish(channel, to_frames(message))

    assert shard.manager.global_state.published is None


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
