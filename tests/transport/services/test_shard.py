from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from constellation.config import ShardMap
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import shard_pb2 as pb
from constellation.v1 import shard_pb2_grpc
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id, embedding
from tests.sharing import share_patterns
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.server import RunningShard


def make_stub(channel: grpc.aio.Channel) -> Any:
    return shard_pb2_grpc.ShardServiceStub(channel)


def make_content(content_id: str, direction: int = 0, **more: Any) -> pb.Content:
    fields: dict[str, Any] = {
        "title": f"The {content_id}",
        "content_type": patterns.CONTENT_TYPE_MOVIE,
        "genres": ["Drama", "Crime"],
        "year": 1999,
        "encoding": patterns.ENCODING_FLOAT32,
        "embedding": embedding(direction).tobytes(),
    }
    return pb.Content(content_id=content_id, **{**fields, **more})


@pytest.fixture
async def shard() -> AsyncIterator[RunningShard]:
    """A shard that shows every pattern: what is tested here is how patterns reach devices."""
    async with run_shard(k_anonymity=1) as shard:
        yield shard


async def add_contents(channel: grpc.aio.Channel, *contents: pb.Content) -> pb.AddContentResponse:
    response: pb.AddContentResponse = await make_stub(channel).AddContent(
        pb.AddContentRequest(contents=contents)
    )
    return response


async def push_patterns(channel: grpc.aio.Channel, device: int, *upserts: PatternSpec) -> None:
    async with open_stream(channel) as open_:
        await open_.open(device)
        await open_.push(1, upserts)


async def get_refusal(call: Any) -> str:
    """Return why a call was refused as invalid."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(raised.value.details())


async def test_content_comes_back_as_it_was_stored(channel: grpc.aio.Channel) -> None:
    added = await add_contents(channel, make_content("film", direction=3))

    found = (await make_stub(channel).GetContent(pb.GetContentRequest(content_id="film"))).content

    assert (added.added_count, added.replaced_count) == (1, 0)
    assert (found.title, found.year, list(found.genres)) == ("The film", 1999, ["Drama", "Crime"])
    assert found.encoding == patterns.ENCODING_INT8
    scale = np.frombuffer(found.embedding[:4], "<f4")[0]
    stored = np.frombuffer(found.embedding[4:], "i1") * scale
    assert float(stored @ embedding(3)) == pytest.approx(1.0, abs=1e-3)


async def test_content_of_the_same_id_is_replaced(channel: grpc.aio.Channel) -> None:
    await add_contents(channel, make_content("film"))

    again = await add_contents(
        channel, make_content("film", title="Renamed"), make_content("other")
    )
    found = await make_stub(channel).GetContent(pb.GetContentRequest(content_id="film"))
    stats = await make_stub(channel).GetStats(pb.GetStatsRequest())

    assert (again.added_count, again.replaced_count) == (1, 1)
    assert found.content.title == "Renamed"
    assert stats.contents == 2


async def test_unknown_content_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await make_stub(channel).GetContent(pb.GetContentRequest(content_id="none"))

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert "the catalogue has no content 'none'" in str(raised.value.details())


async def test_one_bad_content_keeps_the_others_out(channel: grpc.aio.Channel) -> None:
    problem = await get_refusal(
        add_contents(channel, make_content("good"), make_content("bad", year=1, content_type=0))
    )

    page = await make_stub(channel).ListContent(pb.ListContentRequest())

    assert problem.startswith("contents[1].content_type")
    assert not page.contents


@pytest.mark.parametrize("count", [0, 257])
async def test_a_wrong_number_of_contents_is_refused(channel: grpc.aio.Channel, count: int) -> None:
    problem = await get_refusal(
        add_contents(channel, *[make_content(f"film{at}") for at in range(count)])
    )

    assert problem == f"contents must be from 1 to 256, got {count}"


async def test_pages_hold_every_content_once_in_order(channel: grpc.aio.Channel) -> None:
    names = [f"film-{number:02}" for number in range(7)]
    await add_contents(channel, *[make_content(name) for name in reversed(names)])
    listed: list[str] = []
    sizes = []

    token = ""
    while True:
        request = pb.ListContentRequest(page_size=3, page_token=token, omit_embeddings=True)
        page = await make_stub(channel).ListContent(request)
        assert not any(found.embedding for found in page.contents)
        listed += [found.content_id for found in page.contents]
        sizes.append(len(page.contents))
        if not (token := page.next_page_token):
            break

    assert listed == names
    assert sizes == [3, 3, 1]


async def test_patterns_are_found_by_embedding_content_and_device(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    await add_contents(channel, make_content("film", direction=7))
    await push_patterns(channel, 0, PatternSpec(1, direction=7), PatternSpec(2, direction=8))
    await push_patterns(channel, 1, PatternSpec(1, direction=7))
    await share_patterns(shard.manager)
    row = embedding(7).tobytes()
    queries: list[dict[str, Any]] = [
        {"embeddings": row, "encoding": patterns.ENCODING_FLOAT32},
        {"content_id": "film"},
        {"device_id": device_id(1)},
    ]

    answers = [
        await make_stub(channel).SearchPatterns(pb.SearchPatternsRequest(**query, limit=2))
        for query in queries
    ]

    by_embedding, by_content, by_device = (list(answer.similarities) for answer in answers)
    assert by_embedding == pytest.approx([1, 1], abs=1e-3)
    assert by_content == pytest.approx([1, 1], abs=1e-3)
    assert by_device[0] == pytest.approx(1, abs=1e-3)
    assert by_device[1] == pytest.approx(1, abs=1e-3)
    assert all(len(answer.patterns.ids) == 32 for answer in answers)
    assert PatternSpec(1).pattern_id not in answers[0].patterns.ids


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"content_id": "film", "limit": 501}, "limit must be from 1 to 500, got 501"),
        ({}, "query must be one of embeddings, content_id, device_id"),
        ({"device_id": b"short"}, "device_id must be 16 bytes, got 5"),
        ({"embeddings": b"x", "encoding": 3}, "embeddings must be 388 bytes each in INT8"),
        ({"embeddings": b"x"}, "encoding must be 1"),
        (
            {"embeddings": embedding(1).tobytes() * 65, "encoding": 1},
            "embeddings must be at most 64, got 65",
        ),
    ],
)
async def test_a_bad_search_is_refused_with_a_reason(
    channel: grpc.aio.Channel, query: dict[str, Any], problem: str
) -> None:
    refusal = await get_refusal(
        make_stub(channel).SearchPatterns(pb.SearchPatternsRequest(**query))
    )

    assert refusal.startswith(problem)


@pytest.mark.parametrize("query", [{"content_id": "none"}, {"device_id": device_id(77)}])
async def test_a_search_near_something_unknown_is_not_found(
    channel: grpc.aio.Channel, query: dict[str, Any]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await make_stub(channel).SearchPatterns(pb.SearchPatternsRequest(**query))

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_stats_follow_what_happened(shard: RunningShard, channel: grpc.aio.Channel) -> None:
    before = await make_stub(channel).GetStats(pb.GetStatsRequest())
    async with open_stream(channel) as open_:
        await open_.open(0)
        await open_.push(1, [PatternSpec(1), PatternSpec(2, success_rate=0.75)])
        await open_.push(2, [PatternSpec(3, success_rate=0.1)])
        await open_.push(2)
        await share_patterns(shard.manager)

        after = await make_stub(channel).GetStats(pb.GetStatsRequest())

    assert (before.total_devices, before.patterns, before.syncs_per_minute) == (0, 0, 0)
    assert not before.HasField("sync_latency_mean_seconds")
    assert not before.HasField("deltas_per_commit")
    assert (after.total_devices, after.active_devices, after.streams) == (1, 1, 1)
    assert (after.patterns, after.index_patterns, after.patterns_rejected) == (2, 1, 1)
    assert (after.deltas_applied, after.deltas_duplicate) == (2, 1)
    assert (after.syncs_per_minute, after.lsn, after.commits) == (2, 3, 3)
    assert 0 < after.sync_latency_mean_seconds < 10
    assert 0 < after.sync_latency_p99_seconds < 10


async def test_info_names_the_rules_this_shard_works_by(channel: grpc.aio.Channel) -> None:
    info = await make_stub(channel).GetInfo(pb.GetInfoRequest())

    assert (info.epoch, info.store, info.dimension, info.k_anonymity) == (1, "memory", 384, 1)
    assert info.max_devices == 10_000


async def test_the_shard_map_is_listed_in_order() -> None:
    shards = ShardMap({1: "127.0.0.1:2", 0: "127.0.0.1:1"})
    async with (
        run_shard(shard_map=shards) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        listed = await make_stub(channel).ListShards(pb.ListShardsRequest())

    assert [(one.shard_id, one.address) for one in listed.shards] == [
        (0, "127.0.0.1:1"),
        (1, "127.0.0.1:2"),
    ]
    assert listed.map_version > 0


async def test_drain_asks_the_process_to_go_away(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    async with open_stream(channel) as open_:
        await open_.open(0)

        answer = await make_stub(channel).Drain(pb.DrainRequest(spread=Duration(seconds=0)))

        async with asyncio.timeout(5):
            await shard.drain_requested.wait()
        assert answer.streams == 1


async def test_a_negative_spread_is_refused_and_drains_nothing(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    problem = await get_refusal(
        make_stub(channel).Drain(pb.DrainRequest(spread=Duration(seconds=-1)))
    )

    assert problem == "spread must be from 0 to 3600 seconds, got -1"
    assert not shard.drain_requested.is_set()
