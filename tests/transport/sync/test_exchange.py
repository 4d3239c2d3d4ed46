"""Exchange over real gRPC: the rules of the stream, in one call."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.config import Networks
from constellation.core.ingest.deltas import Verdict
from constellation.core.ingest.stats import HelloResult
from constellation.transport.codec.patterns import from_version
from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.sharing import share_patterns
from tests.sync_client import (
    make_delta_message,
    make_hello,
    make_pull,
    make_push,
    open_stream,
    read_error_reason,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.server import RunningShard


@pytest.fixture
async def shard() -> AsyncIterator[RunningShard]:
    """A shard that shows every pattern: what is tested here is how patterns reach devices."""
    async with run_shard(k_anonymity=1) as shard:
        yield shard


def make_deltas(*seqs: int) -> list[Any]:
    return [make_delta_message(seq, [PatternSpec(seq, direction=seq)]) for seq in seqs]


async def exchange(channel: grpc.aio.Channel, request: pb.ExchangeRequest) -> pb.ExchangeResponse:
    response: pb.ExchangeResponse = await SyncServiceStub(channel).Exchange(request)
    return response


async def refuse(channel: grpc.aio.Channel, request: pb.ExchangeRequest) -> tuple[Any, str]:
    call = SyncServiceStub(channel).Exchange(request)
    return await call.code(), await read_error_reason(call)


async def test_one_call_stores_deltas_and_brings_what_others_learned(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    for device in (1, 2):
        await exchange(channel, make_push(device, *make_deltas(1)))
    await share_patterns(shard.manager)

    request = pb.ExchangeRequest(hello=make_hello(3), deltas=make_deltas(1, 2))
    response = await exchange(channel, request)

    assert response.welcome.expected_seq == 1
    assert (response.ack.through_seq, response.ack.expected_seq) == (2, 3)
    assert not response.ack.full_resync
    assert shard.manager.table.totals.patterns == 4
    assert response.update.similar_count == 2
    assert response.update.nonce == 0
    assert response.update.version == from_version(shard.manager.global_state.version)
    assert shard.manager.stats.hellos[HelloResult.WELCOMED] == 3


async def test_what_a_device_does_not_want_is_left_out(channel: grpc.aio.Channel) -> None:
    pushed = await exchange(channel, make_push(1, *make_deltas(1)))
    pulled = await exchange(channel, make_pull(1))

    assert (pushed.HasField("ack"), pushed.HasField("update")) == (True, False)
    assert (pulled.HasField("ack"), pulled.HasField("update")) == (False, True)


async def test_a_repeated_call_is_acked_and_changes_nothing(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    request = make_push(1, *make_deltas(1, 2))
    first = await exchange(channel, request)
    totals = shard.manager.table.totals

    again = await exchange(channel, request)
    more = await exchange(channel, make_push(1, *make_deltas(1, 2, 3)))

    assert again.ack == first.ack
    assert shard.manager.stats.deltas[Verdict.DUPLICATE] == 4
    assert more.ack.through_seq == 3
    assert shard.manager.table.totals.patterns == totals.patterns + 1


async def test_deltas_after_a_gap_are_not_applied(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    response = await exchange(channel, make_push(1, *make_deltas(1, 3, 4)))

    assert (response.ack.through_seq, response.ack.expected_seq) == (1, 2)
    assert shard.manager.table.totals.patterns == 1


async def test_a_device_that_the_shard_does_not_know_any_more_sends_a_snapshot(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    hello = make_hello(1, last_acked_seq=6)
    lost = await exchange(channel, pb.ExchangeRequest(hello=hello, deltas=make_deltas(7, 8)))
    snapshot = make_delta_message(7, [PatternSpec(1)], snapshot=True)
    found = await exchange(
        channel, pb.ExchangeRequest(hello=hello, deltas=[snapshot, *make_deltas(8)])
    )

    assert lost.welcome.full_resync
    assert (lost.ack.through_seq, lost.ack.full_resync) == (6, True)
    assert (found.ack.through_seq, found.ack.full_resync) == (8, False)
    assert shard.manager.table.totals.patterns == 2


async def test_a_call_with_one_bad_delta_applies_none(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    good, bad = make_deltas(1, 2)
    bad.upserts.embeddings = b"short"

    refused = await refuse(channel, make_push(1, good, bad))

    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")
    assert shard.manager.table.totals.devices == 0


async def test_a_bad_pattern_is_rejected_alone(channel: grpc.aio.Channel) -> None:
    delta = make_delta_message(1, [PatternSpec(1), PatternSpec(2, success_rate=0.01)])

    response = await exchange(channel, make_push(1, delta, *make_deltas(2)))

    assert response.ack.through_seq == 2
    assert [each.seq for each in response.ack.rejected] == [1]


async def test_a_call_takes_no_more_deltas_than_a_stream() -> None:
    async with (
        run_shard(max_inflight_deltas=2) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        refused = await refuse(channel, make_push(1, *make_deltas(1, 2, 3)))
        taken = await exchange(channel, make_push(1, *make_deltas(1, 2)))

    assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_INFLIGHT")
    assert taken.ack.through_seq == 2


@pytest.mark.parametrize(
    "hello",
    [
        pb.Hello(device_id=b"short", incarnation=1),
        pb.Hello(device_id=device_id(1)),
        make_hello(1, held_similar_ids=b"cut"),
        make_hello(1, last_acked_seq=2**63),
    ],
)
async def test_a_bad_hello_is_refused(channel: grpc.aio.Channel, hello: pb.Hello) -> None:
    refused = await refuse(channel, pb.ExchangeRequest(hello=hello, deltas=make_deltas(1)))

    assert refused == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")


async def test_a_draining_shard_takes_no_exchange(
    shard: RunningShard, channel: grpc.aio.Channel
) -> None:
    shard.manager.drain()

    assert await refuse(channel, make_pull(1)) == (grpc.StatusCode.UNAVAILABLE, "NOT_READY")


async def test_exchanges_of_one_address_are_limited_like_streams() -> None:
    loopback = Networks((ip_network("127.0.0.0/8"),))
    settings: Any = {"trusted_proxies": loopback, "max_connects_per_address": 2}
    async with (
        run_shard(**settings) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        codes = []
        for _ in range(3):
            call = SyncServiceStub(channel).Exchange(
                make_pull(1), metadata=(("x-forwarded-for", "203.0.113.5"),)
            )
            codes.append(await call.code())

    assert codes == [grpc.StatusCode.OK] * 2 + [grpc.StatusCode.RESOURCE_EXHAUSTED]


async def test_an_exchange_leaves_an_open_stream_alone(channel: grpc.aio.Channel) -> None:
    async with open_stream(channel) as stream:
        await stream.open(1)
        await exchange(channel, make_push(1, *make_deltas(1)))

        assert (await stream.push(2)).through_seq == 2
