"""Devices that push to a shard process, and the state that must be stored for them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from constellation.config import ShardConfig
from constellation.core.loading import load_shard
from constellation.shard_settings import to_rules
from constellation.stores import open_reader
from tests.deltas import PatternSpec, device_id
from tests.sync_client import SyncStream, make_delta_message, make_hello, open_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scenarios.processes import ShardProcess

PATTERN_COUNT = 5
MAX_IN_FLIGHT = 8


@dataclass
class ReplayableDevice:
    """A device whose delta with a given `seq` is the same each time it is sent."""

    number: int
    acked_seq: int = 0

    async def push(self, shard: ShardProcess, on_ack: Callable[[], None], end: int) -> None:
        """Push deltas up to seq `end`, or until the stream ends."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # killed
            async with (
                grpc.aio.insecure_channel(shard.address) as channel,
                open_stream(channel) as stream,
            ):
                await self._push(stream, on_ack, end)

    async def _push(self, stream: SyncStream, on_ack: Callable[[], None], end: int) -> None:
        await stream.send(hello=make_hello(self.number, last_acked_seq=self.acked_seq))
        first = await stream.receive()
        if first is None or not first.HasField("welcome"):
            return  # the shard sent Bye at once
        welcome = first.welcome
        assert not welcome.full_resync
        assert welcome.expected_seq > self.acked_seq
        self.acked_seq, sent = welcome.expected_seq - 1, welcome.expected_seq - 1
        while self.acked_seq < end:
            while sent < min(self.acked_seq + MAX_IN_FLIGHT, end):
                sent += 1
                await stream.send(
                    delta=make_delta_message(sent, make_upserts(sent), make_removals(sent))
                )
            frame = await stream.receive()
            if frame is None:
                return  # the shard sent Bye
            if frame.WhichOneof("frame") == "delta_ack":
                assert frame.delta_ack.through_seq <= sent
                self.acked_seq = frame.delta_ack.through_seq
                on_ack()

    def expected_patterns(self) -> dict[bytes, int]:
        """Return the sample counts by pattern id that the acked deltas result in."""
        stored: dict[bytes, int] = {}
        for seq in range(1, self.acked_seq + 1):
            for number in make_removals(seq):
                stored.pop(PatternSpec(number).pattern_id, None)
            stored |= {each.pattern_id: each.sample_count for each in make_upserts(seq)}
        return stored


def make_upserts(seq: int) -> list[PatternSpec]:
    return (
        []
        if make_removals(seq)
        else [PatternSpec(seq % PATTERN_COUNT, direction=seq, sample_count=seq)]
    )


def make_removals(seq: int) -> list[int]:
    return [] if seq % 7 else [seq % PATTERN_COUNT]


@dataclass(frozen=True)
class StoredDeviceState:
    """The stored state of one device."""

    number: int
    seq: int
    patterns: dict[bytes, int]
    """Sample counts by pattern id."""


async def read_stored_devices(devices: int, **settings: Any) -> list[StoredDeviceState]:
    """Return the stored state of the first `devices` devices, in the order of their numbers."""
    config = ShardConfig(**settings)
    async with open_reader(config) as reader:
        loaded = await load_shard(reader, to_rules(config))
    assert loaded.problems == []
    table = loaded.table
    found = []
    for number in range(devices):
        slot = table.find_device(device_id(number))
        if slot < 0:
            continue
        rows = table.patterns[table.find_patterns(np.array([slot], np.int64)).slots]
        found.append(
            StoredDeviceState(
                number,
                int(table.devices["seq"][slot]),
                {row["pattern_id"].tobytes(): int(row["sample_count"]) for row in rows},
            )
        )
    return found


def push_all(
    devices: list[ReplayableDevice], shard: ShardProcess, on_ack: Callable[[], None], end: int
) -> Any:
    return asyncio.gather(*(device.push(shard, on_ack, end) for device in devices))


def call_after(acks: int, action: Callable[[], None]) -> Callable[[], None]:
    """Return a function that runs an action when it has been called this many times."""
    remaining = iter(range(acks))

    def count() -> None:
        if next(remaining, None) == acks - 1:
            action()

    return count
