"""What strangers send to the front door and no device would, and what of it reaches a shard."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import grpc

from constellation.v1 import sync_pb2, sync_pb2_grpc
from tests.deltas import device_id
from tests.deploy.test_envoy import HEADER, EnvoyDeployment, deployment, run_both_shards
from tests.http2 import (
    EMPTY_MESSAGE,
    PREFACE,
    Flag,
    Kind,
    encode_frame,
    encode_headers,
    read_frame,
)
from tests.transport.rapid_reset import run_rapid_resets

__all__ = ["deployment"]  # a fixture

CALL = b"/constellation.v1.SyncService/GetSyncVersion"
PATHS = {
    "nothing but the byte": b"/\xff",
    "a method": b"/constellation.v1.SyncService/\xff",
    "after a method": CALL + b"\xff",
    "a parameter": CALL + b";\xff",
    "a query": CALL + b"?\xff",
    "a query of a stream": b"/constellation.v1.SyncService/Sync?\xff",
    "a query of health": b"/grpc.health.v1.Health/Check?a=\xff",
    "an empty query": CALL + b"?",
    "a fragment": CALL + b"#\xff",
    "without a slash": b"*\xff",
}
"""Paths with a byte that is no UTF-8: one that arrives ends a shard."""
HONEST_CALLS = 40
CALLS_OF_A_CONNECTION = 100
"""A connection is closed after some more than 20; with Envoy's defaults it would be after 500."""
ANSWERS = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}
"""What a shard answers when it is asked for a device that nobody knows, or that another owns."""


async def ask(address: str, path: bytes) -> None:
    """Make a call of any path, and return once the server has answered or left."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE + encode_frame(Kind.SETTINGS))
    writer.write(encode_frame(Kind.HEADERS, 1, encode_headers(path), Flag.END_HEADERS))
    writer.write(encode_frame(Kind.DATA, 1, EMPTY_MESSAGE, Flag.END_STREAM))
    try:
        async with asyncio.timeout(10):
            while (await read_frame(reader))[0] not in {Kind.HEADERS, Kind.RST_STREAM, Kind.GOAWAY}:
                pass
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # it left
    finally:
        writer.close()


async def count_statuses(address: str, shard_id: int, calls: int) -> Counter[grpc.StatusCode]:
    """Call a shard through the front door so often, and count the statuses."""
    stub: sync_pb2_grpc.SyncServiceAsyncStub
    found: Counter[grpc.StatusCode] = Counter()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = sync_pb2_grpc.SyncServiceStub(channel)
        for _ in range(calls):
            request = sync_pb2.GetSyncVersionRequest(device_id=device_id(1))
            call = stub.GetSyncVersion(request, metadata=((HEADER, str(shard_id)),), timeout=10)
            found[await call.code()] += 1
    return found


async def test_no_path_ends_a_shard(deployment: EnvoyDeployment) -> None:
    async with run_both_shards(deployment) as shards:
        for path in PATHS.values():
            await ask(deployment.envoy.address, path)

        for shard_id, shard in enumerate(shards):
            (status,) = await count_statuses(deployment.envoy.address, shard_id, 1)
            assert status in ANSWERS
            assert shard.process.returncode is None


async def test_calls_are_answered_beside_one_who_opens_and_resets_calls(
    deployment: EnvoyDeployment,
) -> None:
    async with run_both_shards(deployment) as shards:
        async with run_rapid_resets(deployment.envoy.address, CALL.decode()):
            found = await count_statuses(deployment.envoy.address, 0, HONEST_CALLS)
        answer = await deployment.envoy.admin.get("/stats?filter=http.devices.downstream_rq_t")
        assert [shard.process.returncode for shard in shards] == [None, None]

    assert found.total() == HONEST_CALLS
    assert set(found) <= ANSWERS
    counts = dict(
        re.findall(r"^http\.devices\.downstream_rq_(\w+): (\d+)$", answer.text, re.MULTILINE)
    )
    closed = int(counts["too_many_premature_resets"])
    assert closed > 0
    assert int(counts["total"]) / closed < CALLS_OF_A_CONNECTION
