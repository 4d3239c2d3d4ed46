"""Content ids that a shard does not know, over real streams, a catalogue and a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.core.rows import TermKind
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import shard_pb2, shard_pb2_grpc
from tests.conftest import run_shard
from tests.deltas import PatternSpec, embedding
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard

FITTING = PatternSpec(1, 1, contents=("a", "b"))
BEYOND = PatternSpec(2, 2, contents=("c",), genres=("Made up",))


async def push(
    shard: RunningShard, seq: int, upserts: list[PatternSpec], device: int = 0, **more: Any
) -> patterns.DeltaAck:
    """Send one delta on a stream of its own."""
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel) as stream,
    ):
        await stream.open(device, last_acked_seq=seq - 1)
        return await stream.push(seq, upserts, **more)


async def test_a_pattern_beyond_the_budget_stays_rejected_when_its_delta_comes_again(
    tmp_path: Path,
) -> None:
    settings = {"data_dir": tmp_path / "shard", "max_new_contents_per_hour": 2}
    async with run_shard(**settings) as shard:
        ack = await push(shard, 1, [FITTING, BEYOND])
        again = await push(shard, 1, [FITTING, BEYOND])
    async with run_shard(**settings) as shard:
        restarted = await push(shard, 1, [FITTING, BEYOND])
        table = shard.manager.table
        stored, terms = table.totals.patterns, table.vocabulary.count(TermKind.CONTENT)
        genres = table.vocabulary.count(TermKind.GENRE)
        following = await push(shard, 2, [BEYOND])

    (rejection,) = ack.rejected
    assert (rejection.seq, rejection.pattern_id) == (1, BEYOND.pattern_id)
    assert rejection.reason == patterns.REJECTION_REASON_TOO_MANY_NEW_CONTENTS
    assert [each.through_seq for each in (ack, again, restarted)] == [1, 1, 1]
    assert (stored, terms, genres) == (1, 2, 0)
    assert (following.through_seq, list(following.rejected)) == (2, [])


async def test_without_a_budget_devices_name_only_what_the_catalogue_has() -> None:
    async with run_shard(max_new_contents_per_hour=0) as shard:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel:
            content = shard_pb2.Content(
                content_id="c",
                title="C",
                content_type=patterns.CONTENT_TYPE_MOVIE,
                genres=["Made up"],
                embedding=embedding(1).astype("<f4").tobytes(),
                encoding=patterns.ENCODING_FLOAT32,
            )
            stub = shard_pb2_grpc.ShardServiceStub(channel)
            await stub.AddContent(shard_pb2.AddContentRequest(contents=[content]))
        hour = int(time.time()) // 3600

        ack = await push(shard, 1, [FITTING, BEYOND], signals=[("c", hour), ("a", hour)])

    assert [each.pattern_id for each in ack.rejected] == [FITTING.pattern_id]
    assert ack.signals_dropped == 1


@pytest.mark.parametrize("device", [0, 1])
async def test_the_budget_is_counted_for_each_device(device: int) -> None:
    async with run_shard(max_new_contents_per_hour=2) as shard:
        await push(shard, 1, [FITTING])

        ack = await push(shard, 2 - device, [BEYOND], device)

    assert len(ack.rejected) == 1 - device
