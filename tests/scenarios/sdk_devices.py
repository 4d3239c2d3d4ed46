"""SDK devices in this process that push to shard processes, and the state they must store."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from constellation import placement
from constellation.v1 import shard_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation_settop import Outbox, Sync, SyncSettings, replay
from tests.clients.samples import make_learned_changes
from tests.deltas import device_id
from tests.scenarios.replayable_devices import PATTERN_COUNT, StoredDeviceState, read_stored_devices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

    from constellation.v1.shard_pb2_grpc import ShardServiceAsyncStub

FLUSH_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class SdkDevice:
    """The outbox and the sync of a device; the test provides what it has learned."""

    number: int
    outbox: Outbox
    sync: Sync

    def push_change(self) -> None:
        """Add a change to the outbox, and send it as soon as there is a connection."""
        seq = self.outbox.next_seq
        self.outbox.append(make_learned_changes(seq % PATTERN_COUNT, sample_count=seq))
        self.sync.notify()

    def expected_state(self) -> StoredDeviceState:
        """Return the state that the shard must have stored, from what it has acked."""
        patterns = replay(self.outbox.read_journal())
        counts = {pattern_id: value.sample_count for pattern_id, value in patterns.items()}
        return StoredDeviceState(self.number, self.outbox.last_acked_seq, counts)


@asynccontextmanager
async def open_devices(
    addresses: Sequence[str], count: int, settings: SyncSettings
) -> AsyncIterator[list[SdkDevice]]:
    """Open devices that stay connected; they start with these addresses in turn."""
    async with AsyncExitStack() as stack:
        opened = []
        for number in range(count):
            # Large enough that the outbox never merges pending deltas into a snapshot.
            outbox = stack.enter_context(
                Outbox.open(":memory:", device_id(number), keep_journal=True, max_pending=10_000)
            )
            address = addresses[number % len(addresses)]
            sync = await stack.enter_async_context(Sync.open(address, outbox, settings))
            opened.append(SdkDevice(number, outbox, sync))
        yield opened


@asynccontextmanager
async def push_continuously(
    devices: Sequence[SdkDevice], interval_seconds: float
) -> AsyncIterator[None]:
    """Let each device push once per interval, in turn, until the block is left."""

    async def push_forever() -> None:
        while True:
            for device in devices:
                device.push_change()
                await asyncio.sleep(interval_seconds / len(devices))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(push_forever(), name="push_devices")
        yield
        task.cancel()


async def flush_all(devices: Iterable[SdkDevice]) -> None:
    """Wait until all pushed changes are acked."""
    await asyncio.gather(*(device.sync.flush(FLUSH_TIMEOUT_SECONDS) for device in devices))


async def are_all_connected(devices: Iterable[SdkDevice]) -> bool:
    return all(device.sync.is_connected for device in devices)


async def are_all_disconnected(devices: Iterable[SdkDevice]) -> bool:
    return not any(device.sync.is_connected for device in devices)


def select_devices(
    shard_id: int, shards: Mapping[int, str], devices: Iterable[SdkDevice]
) -> list[SdkDevice]:
    """Return the devices that a shard owns according to the shard map."""
    return [
        device
        for device in devices
        if placement.find_owner(device.outbox.device_id, shards) == shard_id
    ]


async def fetch_stats(address: str) -> shard_pb2.GetStatsResponse:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: ShardServiceAsyncStub = ShardServiceStub(channel)
        return await stub.GetStats(shard_pb2.GetStatsRequest())


async def read_stored(
    data_dir: Path, shard_id: int, devices: Sequence[SdkDevice]
) -> list[StoredDeviceState]:
    """Return the state of these devices that a shard has stored; the shard must have ended."""
    return await read_stored_devices(
        max(device.number for device in devices) + 1, data_dir=data_dir, shard_id=shard_id
    )


def count_deltas(found: Iterable[StoredDeviceState]) -> int:
    """Return how many different deltas were applied: seq has no gaps and starts at 1."""
    return sum(device.seq for device in found)
