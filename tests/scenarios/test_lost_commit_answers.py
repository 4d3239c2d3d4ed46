"""A committer counts each sent delta once, even if the response to its commit is lost."""

from __future__ import annotations

import math

import grpc
import pytest

from constellation.core.ingest.deltas import Verdict
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.proxy import LostCommit, open_postgres_proxy
from tests.sync_client import make_delta_message, make_push


async def push(port: int, seq: int) -> grpc.StatusCode:
    """Push one delta, and return the status of the call."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        delta = make_delta_message(seq, [PatternSpec(seq)], snapshot=seq == 1)
        call = SyncServiceStub(channel).Exchange(make_push(1, delta))
        code: grpc.StatusCode = await call.code()
        return code


@pytest.mark.parametrize("written", [True, False])
async def test_a_delta_whose_commit_lost_its_response_is_counted_once(
    postgres_url: str, *, written: bool
) -> None:
    async with (
        open_postgres_proxy(postgres_url) as (proxy, proxied_url),
        run_shard(postgres_url=proxied_url, postgres_timeout_seconds=2) as shard,
    ):
        stats = shard.manager.stats
        proxy.lost_commit = LostCommit(b"INTO constellation.pattern", is_executed=written)

        assert await push(shard.port, 1) is grpc.StatusCode.UNAVAILABLE
        unresolved = dict(stats.deltas), stats.failed_deltas
        assert await push(shard.port, 1) is grpc.StatusCode.OK

        assert stats.unknown_commits == 1
        assert sum(unresolved[0].values()) + unresolved[1] == 0  # not known yet
        assert stats.deltas[Verdict.APPLIED] == 1
        assert stats.deltas[Verdict.DUPLICATE] == int(written)
        assert stats.failed_deltas == int(not written)


async def test_an_expiry_is_a_commit_without_deltas() -> None:
    async with run_shard() as shard:
        await push(shard.port, 1)
        stats = shard.manager.stats
        before = stats.commits, stats.commit_deltas.cumulative()[-1]

        expired = await shard.manager.committer.expire(before=math.inf)

        assert expired == 1
        assert (stats.commits, stats.commit_deltas.cumulative()[-1]) == (before[0] + 1, before[1])
        assert before[1] == 1
