"""A client that takes what it can get, until it is killed.

Run it as `python -m benchmarks.greedy_client PORT KIND FOLDER`; FOLDER has token-keys.json.

KIND is `patterns` (a stream with full deltas, as many unacked as it may), `pulls` (four loops of
PullAggregate), `reads` (four loops of SearchPatterns), `updates` (four loops of Exchange) or
`refusals` (64 of them, which try again at once when they are refused). It prints a line before its
first call.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from benchmarks.messages import make_delta
from constellation.auth.keys import read_key_ring
from constellation.auth.principal import Role
from constellation.auth.tokens import issue_token
from constellation.encoding import Encoding, encode_codes
from constellation.v1 import (
    aggregates_pb2,
    aggregates_pb2_grpc,
    shard_pb2,
    shard_pb2_grpc,
    sync_pb2_grpc,
)
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_LOOPS: Final = 4
_MANY_LOOPS: Final = 64
DEVICE_ID: Final = uuid.uuid4().bytes
Metadata = tuple[tuple[str, str], ...]


def make_metadata(folder: Path, device_id: bytes) -> Metadata:
    """Return the metadata of a caller that is a device, an operator and a federation."""
    ring = read_key_ring(folder / "token-keys.json")
    roles = (Role.DEVICE, Role.OPERATOR, Role.FEDERATION)
    token = issue_token(ring, "constellation", device_id.hex(), roles, 3600)
    return (("authorization", f"Bearer {token}"),)


async def send_patterns(channel: grpc.aio.Channel, metadata: Metadata) -> None:
    """Send full deltas of one device, as many unacked as the shard allows."""
    call: Any = sync_pb2_grpc.SyncServiceStub(channel).Sync(metadata=metadata)
    await call.write(pb.SyncRequest(hello=pb.Hello(device_id=DEVICE_ID, incarnation=1)))
    welcome = (await call.read()).welcome
    codes = sample_patterns(welcome.max_patterns_per_delta)
    room = asyncio.Semaphore(welcome.max_inflight_deltas)
    ids = b"".join(uuid.uuid4().bytes for _ in codes)
    acked = 0

    async def read_acks() -> None:
        nonlocal acked
        while (frame := await call.read()) is not grpc.aio.EOF:
            if frame.HasField("delta_ack"):
                for _ in range(frame.delta_ack.through_seq - acked):
                    room.release()
                acked = frame.delta_ack.through_seq

    reading = asyncio.create_task(read_acks())
    seq = 0
    while not reading.done():
        await room.acquire()
        seq += 1
        await call.write(pb.SyncRequest(delta=make_delta(seq, codes, ids)))


async def pull_aggregates(channel: grpc.aio.Channel, metadata: Metadata) -> None:
    """Pull the whole aggregate, again and again."""
    stub = aggregates_pb2_grpc.AggregateServiceStub(channel)
    request = aggregates_pb2.PullAggregateRequest(max_candidates=256, residual_cosine=0.7)

    async def pull() -> None:
        call: Any = stub.PullAggregate(request, metadata=metadata)
        async for _ in call:
            pass

    await _repeat(pull)


async def search_patterns(channel: grpc.aio.Channel, metadata: Metadata) -> None:
    """Search the patterns near an embedding, again and again."""
    stub: Any = shard_pb2_grpc.ShardServiceStub(channel)
    (row,) = sample_patterns(1)
    embedding = encode_codes(row.reshape(1, -1), Encoding.INT8)
    request = shard_pb2.SearchPatternsRequest(
        encoding=patterns.ENCODING_INT8, embeddings=embedding, limit=100
    )
    await _repeat(lambda: stub.SearchPatterns(request, metadata=metadata))


async def pull_updates(channel: grpc.aio.Channel, metadata: Metadata) -> None:
    """Ask for a full update of a device, again and again."""
    stub: Any = sync_pb2_grpc.SyncServiceStub(channel)
    request = pb.ExchangeRequest(hello=pb.Hello(device_id=DEVICE_ID, incarnation=1))
    await _repeat(lambda: stub.Exchange(request, metadata=metadata))


async def ignore_refusals(channel: grpc.aio.Channel, metadata: Metadata) -> None:
    """Ask for more updates at once than may wait, and for another one when one is refused."""
    stub: Any = sync_pb2_grpc.SyncServiceStub(channel)
    request = pb.ExchangeRequest(hello=pb.Hello(device_id=DEVICE_ID, incarnation=1))

    async def ask() -> None:
        try:
            await stub.Exchange(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise

    await _repeat(ask, _MANY_LOOPS)


async def _repeat(action: Callable[[], Awaitable[object]], loops: int = _LOOPS) -> None:
    async def loop() -> None:
        while True:
            await action()

    await asyncio.gather(*(loop() for _ in range(loops)))


KINDS: Final = {
    "patterns": send_patterns,
    "pulls": pull_aggregates,
    "reads": search_patterns,
    "refusals": ignore_refusals,
    "updates": pull_updates,
}


async def run(port: int, kind: str, folder: Path) -> None:
    """Be greedy until the process is killed."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        print("begins", flush=True)
        await KINDS[kind](channel, make_metadata(folder, DEVICE_ID))


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
