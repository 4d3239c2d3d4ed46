from __future__ import annotations

from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.federated.aggregate import AggregateVersion
from constellation.federated.published import StoredGlobal
from federation.shards.client import (
    CHUNK_BYTES,
    MAX_ATTEMPTS,
    PublishResult,
    PullScope,
    ShardClient,
)
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.scripted_shard import ScriptedShard, run_scripted_shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SUMS_ONLY = PullScope()
STORED = StoredGlobal(generation=5, round_id=7, payload=b"global" * CHUNK_BYTES)


@asynccontextmanager
async def open_client(shard: ScriptedShard) -> AsyncIterator[ShardClient]:
    async with run_scripted_shard(shard) as address, ShardClient.open(address) as client:
        yield client


async def test_a_pull_returns_the_update_of_a_shard_with_its_age_and_terms() -> None:
    rows = make_cluster_rows([1, 2], [5, 6], [{"film:1": 3}, {}])
    async with open_client(ScriptedShard(make_update(4, rows), age_seconds=90)) as client:
        result = await client.pull([], SUMS_ONLY, 5.0)

    ((update, age_seconds),) = result.updates
    assert (update.version.shard_id, age_seconds) == (4, 90)
    assert update.clusters.cluster_ids.tolist() == [1, 2]
    assert result.terms is not None
    assert result.terms.contents.texts == ["film:1"]
    assert result.size_bytes > 0
    assert (result.problem, result.is_refused) == ("", False)


async def test_a_pull_says_what_is_known_and_which_candidates_it_wants() -> None:
    shard = ScriptedShard(make_update(4, make_cluster_rows([1], [5])))
    async with open_client(shard) as client:
        await client.pull([AggregateVersion(4, 2, 9)], PullScope(64, 0.5), 5.0)

    (request,) = shard.pulls
    (known,) = request.known_versions
    assert (known.shard_id, known.epoch, known.version) == (4, 2, 9)
    assert (request.max_candidates, request.residual_cosine) == (64, 0.5)


async def test_a_shard_that_is_unavailable_for_a_moment_is_asked_again() -> None:
    shard = ScriptedShard(make_update(4, make_cluster_rows([1], [5])))
    shard.errors = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
    async with open_client(shard) as client:
        result = await client.pull([], SUMS_ONLY, 30.0)

    assert result.problem == ""
    assert len(shard.pulls) == 3


async def test_a_shard_that_stays_unavailable_is_asked_a_few_times() -> None:
    shard = ScriptedShard()
    shard.errors = [grpc.StatusCode.UNAVAILABLE] * 10
    async with open_client(shard) as client:
        result = await client.pull([], SUMS_ONLY, 30.0)

    assert result.problem == "UNAVAILABLE: as the test says"
    assert not result.is_refused
    assert len(shard.pulls) == MAX_ATTEMPTS


async def test_a_shard_that_fails_for_good_is_asked_once() -> None:
    shard = ScriptedShard()
    shard.errors = [grpc.StatusCode.FAILED_PRECONDITION]
    async with open_client(shard) as client:
        result = await client.pull([], SUMS_ONLY, 30.0)

    assert result.problem == "FAILED_PRECONDITION: as the test says"
    assert result.terms is None
    assert len(shard.pulls) == 1


async def test_an_impossible_answer_is_refused_and_not_asked_for_again() -> None:
    shard = ScriptedShard(make_update(4, make_cluster_rows([1], [50]), devices=49))
    async with open_client(shard) as client:
        result = await client.pull([], SUMS_ONLY, 30.0)

    assert result.is_refused
    assert "must be at most 49" in result.problem
    assert len(shard.pulls) == 1


async def test_nobody_at_an_address_is_a_problem_and_no_error() -> None:
    async with ShardClient.open("127.0.0.1:1") as client:
        result = await client.pull([], SUMS_ONLY, 0.5)

    assert result.problem.startswith("UNAVAILABLE")
    assert not result.is_refused


async def test_a_global_is_sent_in_chunks_after_its_header() -> None:
    shard = ScriptedShard()
    async with open_client(shard) as client:
        result = await client.publish(STORED, 5.0)

    (header, *chunks) = shard.globals[0]
    assert result == PublishResult()
    assert (header.header.generation, header.header.round_id) == (5, 7)
    assert header.header.size_bytes == len(STORED.payload)
    assert header.header.sha256 == sha256(STORED.payload).digest()
    assert b"".join(each.chunk for each in chunks) == STORED.payload
    assert max(len(each.chunk) for each in chunks) == CHUNK_BYTES


@pytest.mark.parametrize(
    ("newest", "remedy"),
    [
        ((5, 8), "From round 9 on, this one is accepted"),
        ((6, 1), "stop this one, or start it with that journal"),
    ],
)
async def test_a_shard_with_a_later_global_says_who_should_do_what(
    newest: tuple[int, int], remedy: str
) -> None:
    shard = ScriptedShard()
    shard.newest = newest
    async with open_client(shard) as client:
        result = await client.publish(STORED, 5.0)

    assert f"it has round {newest[1]} of generation {newest[0]}" in result.problem
    assert remedy in result.problem
    assert result.is_superseded


async def test_a_global_that_cannot_be_sent_is_a_problem_and_no_error() -> None:
    shard = ScriptedShard()
    shard.errors = [grpc.StatusCode.UNAVAILABLE]
    async with open_client(shard) as client:
        result = await client.publish(STORED, 5.0)

    assert result == PublishResult("UNAVAILABLE: as the test says")
