"""Real shards that hold deltas of real devices, and federations above them."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from constellation.config import Address, Addresses, Count, Interval, NonNegative, Seconds
from constellation.v1 import federation_pb2
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from federation.config import FederationConfig
from federation.server import RunningFederation, serve
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.sharing import add_to_catalogue
from tests.sync_client import make_delta_message, make_push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation.server import RunningShard
    from constellation.v1.federation_pb2_grpc import FederationServiceAsyncStub
    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub


def name_films(direction: int) -> tuple[str, str]:
    """Return the films that devices with the taste of a direction watch."""
    return f"film:{direction}", f"film:{direction}b"


HOUR = int(time.time()) // 3600
FILMS = {film: direction for direction in range(5) for film in name_films(direction)}
"""By content id: the direction in which it lies."""


def get_address(process: RunningShard | RunningFederation) -> str:
    return f"127.0.0.1:{process.port}"


def make_federation_config(addresses: Sequence[str], **settings: Any) -> FederationConfig:
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
        "trend_surprise": NonNegative(0),
    }
    if relays := settings.pop("relay_addrs", ()):
        defaults["relay_addrs"] = Addresses(tuple(relays))
    return FederationConfig(**{**defaults, **settings})


@asynccontextmanager
async def run_federation(
    addresses: Sequence[str], **settings: Any
) -> AsyncIterator[RunningFederation]:
    """Run a federation in this process; it is the active one once entered."""
    async with serve(make_federation_config(addresses, **settings)) as federation:
        await federation.rounds.became_active.wait()
        yield federation


@asynccontextmanager
async def run_shards(count: int, **settings: Any) -> AsyncIterator[list[RunningShard]]:
    """Run shards whose catalogues have the films of `make_drama_device`, without genres."""
    async with AsyncExitStack() as stack:
        shards = [
            await stack.enter_async_context(run_shard(shard_id=number, **settings))
            for number in range(count)
        ]
        for shard in shards:
            await add_to_catalogue(shard.manager, FILMS)
        yield shards


@dataclass(frozen=True)
class SampleDevice:
    """Everything that one device pushes."""

    number: int
    patterns: Sequence[PatternSpec]
    signals: Sequence[tuple[str, int]] = ()


async def push_devices(shard: RunningShard, devices: Sequence[SampleDevice], seq: int = 1) -> None:
    """Push deltas to a shard over real gRPC; each is durable when this returns."""
    async with grpc.aio.insecure_channel(get_address(shard)) as channel:
        stub: SyncServiceAsyncStub = SyncServiceStub(channel)
        for device in devices:
            delta = make_delta_message(seq, device.patterns, snapshot=True, signals=device.signals)
            await stub.Exchange(make_push(device.number, delta))


def make_drama_device(number: int, direction: int = 1) -> SampleDevice:
    """Return a device with the taste of one direction; devices of one direction agree."""
    contents = name_films(direction)
    pattern = PatternSpec(0, direction, 0.95, 16, genres=("Drama",), contents=contents)
    return SampleDevice(number, [pattern], [(contents[0], HOUR - 1)])


async def run_round(federation: RunningFederation) -> federation_pb2.Round:
    """Run a round over real gRPC."""
    async with grpc.aio.insecure_channel(get_address(federation)) as channel:
        stub: FederationServiceAsyncStub = FederationServiceStub(channel)
        return (await stub.RunRound(federation_pb2.RunRoundRequest())).round
