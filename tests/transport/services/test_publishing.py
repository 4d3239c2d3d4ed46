"""A shard refuses a global that is incomplete, makes no sense or does not end."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.federated.published import RoundKey
from constellation.transport.calls.status import MAX_IGNORED_BYTES
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import patterns_pb2
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from tests.deltas import PatternSpec
from tests.sync_client import read_error_reason, to_columns
from tests.transport.services.globals import make_global, publish, to_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from constellation.server import RunningShard


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
