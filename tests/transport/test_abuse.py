"""What one caller does must not cost the others: found by review, kept here."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from constellation.core.rows import TermKind
from constellation.core.table.hourly import RING_HOURS
from constellation.errors import StoreFailedError
from constellation.server import RunningShard, serve
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import shard_pb2, shard_pb2_grpc, sync_pb2_grpc
from tests.conftest import make_shard_config, run_shard
from tests.deltas import PatternSpec
from tests.sharing import share_patterns
from tests.sync_client import (
    make_delta_message,
    make_hello,
    make_push,
    open_stream,
    read_error_reason,
)
from tests.transport.inbox_client import push_delta
from tests.transport.stalled_client import send_call

if TYPE_CHECKING:
    from pathlib import Path


def _make_content(content_id: str, genre: str) -> shard_pb2.Content:
    return shard_pb2.Content(
        content_id=content_id,
        content_type=patterns.CONTENT_TYPE_MOVIE,
        genres=[genre],
        encoding=patterns.ENCODING_FLOAT32,
        embedding=np.ones(384, "<f4").tobytes(),
    )


async def test_a_cancelled_add_content_leaves_the_words_in_order(
    durable_shard: RunningShard,
) -> None:
    manager = durable_shard.manager
    async with grpc.aio.insecure_channel(f"127.0.0.1:{durable_shard.port}") as channel:
        stub = shard_pb2_grpc.ShardServiceStub(channel)
        async with manager.committer.write_lock:
            request = shard_pb2.AddContentRequest(contents=[_make_content("f", "War")])
            call = stub.AddContent(request, timeout=0.3)
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED

        await push_delta(manager, 0, 1, [PatternSpec(1, contents=("g",))])

        await stub.GetContent(shard_pb2.GetContentRequest(content_id="f"))
        words = manager.table.vocabulary
        numbers = [words.number(TermKind.CONTENT, content) for content in ("f", "g")]
        assert sorted(numbers) == [1, 2]


async def test_words_that_no_stored_pattern_names_take_no_number(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    hour = int(time.time()) // 3600

    await push_delta(
        shard.manager, 0, 1, [PatternSpec(1, success_rate=0.1, genres=("x",), contents=("y",))]
    )
    async with open_stream(channel) as device:
        await device.open(1)
        await device.push(1, signals=[("old", hour - RING_HOURS - 5), ("new", hour)])

    assert shard.manager.table.vocabulary.count(TermKind.GENRE) == 0
    assert shard.manager.table.vocabulary.count(TermKind.CONTENT) == 1


async def test_a_compressed_message_is_refused_before_it_is_decoded(shard: RunningShard) -> None:
    """A kilobyte of it could hold a megabyte, which would stop the event loop while it is read."""
    delta = make_delta_message(1)
    delta.upserts.genres.extend([""] * 333_333)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel:
        call: Any = sync_pb2_grpc.SyncServiceStub(channel).Exchange(
            make_push(1, delta),
            compression=grpc.Compression.Gzip,
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "ompression" in (refused.value.details() or "")


@pytest.mark.parametrize("field", ["genres", "content_ids"])
async def test_a_dictionary_larger_than_its_use_is_refused(
    channel: grpc.aio.Channel, field: str
) -> None:
    delta = make_delta_message(1, [PatternSpec(1)])
    getattr(delta.upserts, field).append("unused")
    async with open_stream(channel) as device:
        await device.open()

        await device.send(delta=delta)

        assert await device.wait_for_status() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"{field} must each be used" in await device.call.details()


async def test_more_signals_than_the_window_holds_are_refused(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.open()

        await device.send(delta=make_delta_message(1, signals=[("x", 1)] * 673))

        assert await device.wait_for_status() is grpc.StatusCode.INVALID_ARGUMENT
        assert "must be at most 672, got 673" in await device.call.details()


async def test_an_impossible_last_acked_seq_is_invalid(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as device:
        await device.send(hello=make_hello(last_acked_seq=2**64 - 1))

        assert await device.wait_for_status() is grpc.StatusCode.INVALID_ARGUMENT
        assert await read_error_reason(device.call) == "INVALID_INPUT"


async def test_a_genre_that_the_catalogue_lacks_is_not_shown_to_others(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    stub = shard_pb2_grpc.ShardServiceStub(channel)
    await stub.AddContent(shard_pb2.AddContentRequest(contents=[_make_content("film", "War")]))
    for device in range(3):
        genres = ("War", "call me on 555")
        await push_delta(
            shard.manager, device, 1, [PatternSpec(1, genres=genres, contents=("film",))]
        )
    await share_patterns(shard.manager)

    found = await stub.SearchPatterns(shard_pb2.SearchPatternsRequest(content_id="film"))

    assert list(found.patterns.genres) == ["War"]


async def test_a_store_that_fails_ends_the_process_instead_of_hanging_it(tmp_path: Path) -> None:
    config = make_shard_config(data_dir=tmp_path / "shard", drain_seconds=3600)

    async def fail(*_: object) -> None:
        raise StoreFailedError("the disk is gone")

    with pytest.RaisesGroup(StoreFailedError, flatten_subgroups=True):
        async with asyncio.timeout(20), serve(config) as shard:
            await push_delta(shard.manager, 0, 1, [PatternSpec(1)])
            store: Any = shard.manager.store
            store.commit = fail  # breaks one thing

            await push_delta(shard.manager, 0, 2, [PatternSpec(2)])


async def test_a_path_that_ends_the_accepting_of_calls_ends_the_process() -> None:
    """A stranger chooses the path, which grpcio decodes where it accepts calls: no port may die."""
    with pytest.RaisesGroup(
        pytest.RaisesExc(RuntimeError, match="takes no more calls"), flatten_subgroups=True
    ):
        async with run_shard() as shard, asyncio.timeout(20):
            await send_call(shard.port, b"/\xff")
            await asyncio.Future()
