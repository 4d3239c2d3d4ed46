"""Several real shards with real devices' deltas in them, and federations above."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from constellation.config import Address, Addresses, Count, Floor, Interval, Seconds
from constellation.v1 import federation_pb2, sync_pb2
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from federation.config import FederationConfig
from federation.server import RunningFederation, serve
from tests.conftest import running
from tests.deltas import Pattern, device_id
from tests.sync_client import to_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation.server import RunningShard
    from constellation.v1.federation_pb2_grpc import FederationServiceAsyncStub
    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub

HOUR = int(time.time()) // 3600


def address_of(running_: RunningShard | RunningFederation) -> str:
    return f"127.0.0.1:{running_.port}"


def federation_config(addresses: Sequence[str], **settings: Any) -> FederationConfig:
    """Return settings for a test: a free port, rounds only when asked for, a small fleet."""
    defaults: dict[str, Any] = {
        "shard_addrs": Addresses(tuple(addresses)),
        "grpc_addr": Address("127.0.0.1:0"),
        "rest_addr": Address("127.0.0.1:0"),
        "metrics_addr": Address("127.0.0.1:0"),
        "federation_interval_secs": Seconds(0),
        "catch_up_seconds": Interval(1e9),
        "pull_timeout_seconds": Interval(10),
        "min_shards": Count(2),
        "global_k_anonymity": Count(4),
        "candidate_devices": Count(2),
        "trend_floor": Count(1),
        "trend_surprise": Floor(0),
    }
    if relays := settings.pop("relay_addrs", ()):
        defaults["relay_addrs"] = Addresses(tuple(relays))
    return FederationConfig(**{**defaults, **settings})


@asynccontextmanager
async def federating(addresses: Sequence[str], **settings: Any) -> AsyncIterator[RunningFederation]:
    """Run a federation in this process; it is the active one once entered."""
    async with serve(federation_config(addresses, **settings)) as federation:
        await federation.rounds.became_active.wait()
        yield federation


@asynccontextmanager
async def shards(count: int, **settings: Any) -> AsyncIterator[list[RunningShard]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running(shard_id=number, **settings))
            for number in range(count)
        ]


@dataclass(frozen=True)
class Household:
    """What one device pushes, whole."""

    number: int
    patterns: Sequence[Pattern]
    signals: Sequence[tuple[str, int]] = ()


async def push(shard: RunningShard, households: Sequence[Household], seq: int = 1) -> None:
    """Push deltas to a shard over real gRPC; each is durable when this returns."""
    async with grpc.aio.insecure_channel(address_of(shard)) as channel:
        stub: SyncServiceAsyncStub = SyncServiceStub(channel)
        for household in households:
            await stub.PushPatterns(
                sync_pb2.PushPatternsRequest(
                    device_id=device_id(household.number),
                    incarnation=1,
                    delta=to_message(
                        seq, household.patterns, snapshot=True, signals=household.signals
                    ),
                )
            )


def drama(number: int, direction: int = 1) -> Household:
    """Return a household that likes what its fellows of one direction like."""
    contents = (f"film:{direction}", f"film:{direction}b")
    pattern = Pattern(0, direction, 0.95, 16, genres=("Drama",), contents=contents)
    return Household(number, [pattern], [(contents[0], HOUR - 1)])


async def run_round(federation: RunningFederation) -> federation_pb2.Round:
    """Run a round over real gRPC."""
    async with grpc.aio.insecure_channel(address_of(federation)) as channel:
        stub: FederationServiceAsyncStub = FederationServiceStub(channel)
        return (await stub.RunRound(federation_pb2.RunRoundRequest())).round
