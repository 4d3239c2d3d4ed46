"""Every kind of bad input gets its own clear error, and other streams do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.config import Count, ShardMap
from constellation.placement import find_owner
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import shard_pb2, shard_pb2_grpc, sync_pb2_grpc
from constellation.v1 import sync_pb2 as pb
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.sync_client import (
    make_delta_message,
    make_hello,
    make_pull,
    open_stream,
    read_error_reason,
)

if TYPE_CHECKING:
    from constellation.server import RunningShard

Mutation = Callable[[patterns.Delta], None]


def _shorten_embeddings(delta: patterns.Delta) -> None:
    delta.upserts.embeddings = delta.upserts.embeddings[:-4]


def _set_unknown_encoding(delta: patterns.Delta) -> None:
    delta.upserts.encoding = 9  # type: ignore[assignment]  # that is the point


def _clear_sample_counts(delta: patterns.Delta) -> None:
    del delta.upserts.sample_counts[:]


def _overstate_genre_count(delta: patterns.Delta) -> None:
    delta.upserts.genre_counts = bytes([3])


def _set_partial_id(delta: patterns.Delta) -> None:
    delta.removed_ids = b"half"


def _add_long_content_id(delta: patterns.Delta) -> None:
    delta.upserts.content_ids.append("x" * 65)


def _add_signal_without_hour(delta: patterns.Delta) -> None:
    delta.signals.content_ids.append("x")


def _add_nul_character(delta: patterns.Delta) -> None:
    delta.signals.content_ids.append("a\0film")
    delta.signals.hours.append(490_000)


def _clear_seq(delta: patterns.Delta) -> None:
    delta.seq = 0


def _remove_too_many(delta: patterns.Delta) -> None:
    delta.removed_ids = bytes(16 * 65)


MALFORMED: dict[str, tuple[Mutation, str]] = {
    "wrong dimension": (_shorten_embeddings, "embeddings must have length 388"),
    "unknown encoding": (_set_unknown_encoding, "encoding must be 1"),
    "truncated column": (_clear_sample_counts, "sample_counts must have length 1"),
    "truncated dictionary": (_overstate_genre_count, "genre_indexes must have length 3"),
    "half an id": (_set_partial_id, "removed_ids must be 16 bytes each"),
    "oversize content id": (_add_long_content_id, "content_ids must be from 1 to 64 bytes"),
    "signal without hour": (_add_signal_without_hour, "signals.hours must be one for each"),
    "a NUL": (_add_nul_character, "signals.content_ids must be printable text, got "),
    "no seq": (_clear_seq, "seq must be from 1"),
    "too many patterns": (_remove_too_many, "must be at most 64 together, got 66"),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_delta_ends_its_stream_and_no_other(
    channel: grpc.aio.Channel, case: str
) -> None:
    break_it, message = MALFORMED[case]
    delta = make_delta_message(1, [PatternSpec(1)])
    break_it(delta)
    async with open_stream(channel) as bad, open_stream(channel) as good:
        await good.open(1)
        await bad.open(0)

        await bad.send(delta=delta)

        assert await bad.wait_for_status() is grpc.StatusCode.INVALID_ARGUMENT
        assert message in await bad.call.details()
        assert await read_error_reason(bad.call) == "INVALID_INPUT"
        assert (await good.push(1, [PatternSpec(1)])).through_seq == 1


async def test_an_error_reaches_the_device_while_a_frame_is_being_written(
    channel: grpc.aio.Channel,
) -> None:
    """The Welcome is under way when the delta is refused; a status cannot overtake it."""
    delta = make_delta_message(0, [PatternSpec(1)])

    async def send_bad_delta(device: int) -> grpc.StatusCode:
        async with open_stream(channel) as bad:
            await bad.send(hello=make_hello(device))
            await bad.send(delta=delta)
            return await bad.wait_for_status()

    for _ in range(10):  # many at once: the reads and the writes of the shard come in any order
        statuses = await asyncio.gather(*(send_bad_delta(device) for device in range(100)))
        assert set(statuses) == {grpc.StatusCode.INVALID_ARGUMENT}


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e9], ids=["nan", "inf", "zero", "huge"])
@pytest.mark.parametrize("encoding", [patterns.ENCODING_FLOAT32, patterns.ENCODING_INT8])
async def test_a_poisonous_embedding_is_rejected_alone(
    shard: RunningShard, channel: grpc.aio.Channel, value: float, encoding: Any
) -> None:
    delta = make_delta_message(1, [PatternSpec(1), PatternSpec(2)])
    delta.upserts.encoding = encoding
    if encoding == patterns.ENCODING_FLOAT32:
        rows = np.ones((2, 384), "<f4")
        rows[0] = value
        delta.upserts.embeddings = rows.tobytes()
    else:
        scale = np.float32(value).tobytes()
        delta.upserts.embeddings = scale + delta.upserts.embeddings[4:]
    async with open_stream(channel) as device:
        await device.open()

        await device.send(delta=delta)
        ack = await device.expect("delta_ack")

        assert ack.through_seq == 1
        assert [rejection.pattern_id for rejection in ack.rejected] == [PatternSpec(1).pattern_id]
        expected = (
            patterns.REJECTION_REASON_NOT_FINITE
            if not np.isfinite(value)
            else patterns.REJECTION_REASON_BAD_NORM
        )
        assert ack.rejected[0].reason == expected
        assert shard.manager.table.totals.patterns == 1


async def test_a_delta_before_hello_is_out_of_order(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.send(delta=make_delta_message(1))

        assert await device.wait_for_status() is grpc.StatusCode.FAILED_PRECONDITION
        assert await read_error_reason(device.call) == "OUT_OF_ORDER"


async def test_a_second_hello_is_out_of_order(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.open()

        await device.send(hello=make_hello())

        assert await device.wait_for_status() is grpc.StatusCode.FAILED_PRECONDITION
        assert "hello came twice" in await device.call.details()


async def test_an_empty_frame_is_invalid(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.send()

        assert await device.wait_for_status() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "changed",
    [
        {"device_id": b"short"},
        {"device_id": bytes(16)},
        {"incarnation": 0},
        {"held_similar_ids": b"odd"},
        {"held_similar_ids": bytes(16 * 1001)},
        {"encodings": [9]},
        {"sdk_version": "x" * 65},
    ],
    ids="-".join,
)
async def test_a_malformed_hello_is_invalid(
    channel: grpc.aio.Channel, changed: dict[str, Any]
) -> None:
    frame = make_hello()
    for field, value in changed.items():
        frame.ClearField(field)  # type: ignore[arg-type]  # names of fields
        frame.MergeFrom(pb.Hello(**{field: value}))
    async with open_stream(channel) as device:
        await device.send(hello=frame)

        assert await device.wait_for_status() is grpc.StatusCode.INVALID_ARGUMENT
        assert await read_error_reason(device.call) == "INVALID_INPUT"


async def test_a_foreign_device_is_sent_to_its_owner() -> None:
    shards = {0: "127.0.0.1:1", 1: "127.0.0.1:2"}
    foreign = next(number for number in range(64) if find_owner(device_id(number), shards) == 1)
    async with (
        run_shard(shard_map=ShardMap(shards)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel) as device,
    ):
        await device.send(hello=make_hello(foreign))
        redirect = await device.expect("redirect")

        assert (redirect.shard_id, redirect.address) == (1, "127.0.0.1:2")
        assert await device.wait_for_status() is grpc.StatusCode.OK
        with pytest.raises(grpc.aio.AioRpcError, match="belongs to shard 1") as raised:
            await sync_pb2_grpc.SyncServiceStub(channel).Exchange(make_pull(foreign))
        assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_full_shard_refuses_new_devices_only() -> None:
    async with (
        run_shard(max_devices=Count(1)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        async with open_stream(channel) as known:
            await known.open(0)
            await known.push(1)
        async with open_stream(channel) as new, open_stream(channel) as known:
            await new.send(hello=make_hello(1))

            assert await new.wait_for_status() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "MAX_DEVICES is 1" in await new.call.details()
            assert await read_error_reason(new.call) == "SHARD_FULL"
            assert (await known.open(0)).expected_seq == 2


async def test_one_stream_too_many_is_refused() -> None:
    async with (
        run_shard(max_streams=Count(1)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel) as first,
    ):
        await first.open(0)

        async with open_stream(channel) as second:
            assert await second.wait_for_status() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "MAX_STREAMS is 1" in await second.call.details()


async def test_more_deltas_in_flight_than_allowed_end_the_stream() -> None:
    async with (
        run_shard(max_inflight_deltas=Count(2)) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel) as device,
    ):
        await device.open()
        async with shard.manager.committer.write_lock:
            for seq in (1, 2, 3):
                await device.send(delta=make_delta_message(seq))

            assert await device.wait_for_status() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await read_error_reason(device.call) == "TOO_MANY_INFLIGHT"


async def test_a_message_over_the_limit_ends_its_stream_only(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as bad, open_stream(channel) as good:
        await good.open(1)
        await bad.open(0)

        await bad.send(delta=patterns.Delta(seq=1, removed_ids=bytes(2 << 20)))

        assert await bad.wait_for_status() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await good.push(1)).through_seq == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"content_id": ""}, "contents[0].content_id must be from 1 to 64 bytes"),
        ({"content_type": 0}, "contents[0].content_type must be from 1 to 4, got 0"),
        ({"content_type": 77}, "contents[0].content_type must be from 1 to 4, got 77"),
        ({"title": "x" * 257}, "contents[0].title must be at most 256 bytes"),
        ({"title": "a\0film"}, "contents[0].title must not hold NUL"),
        ({"genres": ["x"] * 9}, "contents[0].genres must be at most 8, got 9"),
        (
            {"content_id": "a\x1b[2J"},
            "contents[0].content_id must be printable text, got 'a\\x1b",
        ),
        ({"genres": ["a\x85"]}, "contents[0].genres must be printable text, got 'a\\x85' with the"),
        ({"embedding": b"short"}, "contents[0].embedding must be 1536 bytes each"),
        ({"embedding": np.zeros(384, "<f4").tobytes()}, "must have a norm from 1e-6 to 1e3"),
        ({"embedding": np.full(384, np.nan, "<f4").tobytes()}, "must be finite"),
        ({"encoding": 0}, "encoding must be 1"),
    ],
)
async def test_bad_content_is_refused_and_named(
    channel: grpc.aio.Channel, changed: dict[str, Any], message: str
) -> None:
    fields: dict[str, Any] = {
        "content_id": "film",
        "content_type": patterns.CONTENT_TYPE_MOVIE,
        "encoding": patterns.ENCODING_FLOAT32,
        "embedding": np.ones(384, "<f4").tobytes(),
    }
    content = shard_pb2.Content(**{**fields, **changed})

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await shard_pb2_grpc.ShardServiceStub(channel).AddContent(
            shard_pb2.AddContentRequest(contents=[content])
        )

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in str(raised.value.details())


async def test_an_id_that_no_store_can_hold_is_refused_where_it_is_asked_for(
    channel: grpc.aio.Channel,
) -> None:
    operator = shard_pb2_grpc.ShardServiceStub(channel)

    for call, field in (
        (operator.GetContent(shard_pb2.GetContentRequest(content_id="a\0")), "content_id"),
        (operator.ListContent(shard_pb2.ListContentRequest(page_token="a\0")), "page_token"),  # noqa: S106
        (operator.SearchPatterns(shard_pb2.SearchPatternsRequest(content_id="a\0")), "content_id"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert raised.value.details() == f"{field} must not hold NUL, got 'a\\x00'"


@pytest.mark.parametrize(
    "method",
    [
        "ShardService/GetDevice",
        "SyncService/Sync",
        "SyncService/Exchange",
        "AggregateService/PullAggregate",
        "AggregateService/PublishGlobal",
        "ProcessService/SetLogLevel",
        "/grpc.health.v1.Health/Check",
    ],
)
async def test_what_is_no_message_is_invalid_and_no_crash(
    channel: grpc.aio.Channel, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = method if method.startswith("/") else f"/constellation.v1.{method}"
    ask: Any = channel.stream_stream(path)
    call = ask(timeout=10)
    await call.write(b"\xff\xff\xff")
    with suppress(grpc.aio.AioRpcError):
        async for _ in call:  # a last frame comes before the status
            pass

    code, reason = await call.code(), await read_error_reason(call)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert "cannot be decoded" in await call.details()
    assert "rpc_crashed" not in capsys.readouterr().out
