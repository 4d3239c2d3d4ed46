"""Devices that push to a shard process, and what must be stored of them afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from constellation.config import ShardConfig
from constellation.core.loading import load
from constellation.server import rules_of
from constellation.stores import open_reader
from tests.deltas import Pattern, device_id
from tests.sync_client import Stream, hello, stream, to_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scenarios.processes import Serving

PATTERNS = 5
IN_FLIGHT = 8


@dataclass
class Device:
    """A device whose delta `seq` is the same whenever it is sent."""

    number: int
    acked: int = 0

    async def push(self, shard: Serving, on_ack: Callable[[], None], end: int) -> None:
        """Push deltas up to `end`, or for as long as the shard lets it."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it was killed
            async with (
                grpc.aio.insecure_channel(shard.address) as channel,
                stream(channel) as open_,
            ):
                await self._push(open_, on_ack, end)

    async def _push(self, open_: Stream, on_ack: Callable[[], None], end: int) -> None:
        await open_.send(hello=hello(self.number, last_acked_seq=self.acked))
        first = await open_.receive()
        if first is None or not first.HasField("welcome"):
            return  # the shard said Bye at once
        welcome = first.welcome
        assert not welcome.resync_full
        assert welcome.expected_seq > self.acked
        self.acked, sent = welcome.expected_seq - 1, welcome.expected_seq - 1
        while self.acked < end:
            while sent < min(self.acked + IN_FLIGHT, end):
                sent += 1
                await open_.send(delta=to_message(sent, upserts_of(sent), removed_of(sent)))
            frame = await open_.receive()
            if frame is None:
                return  # the shard said Bye
            if frame.WhichOneof("frame") == "delta_ack":
                assert frame.delta_ack.through_seq <= sent
                self.acked = frame.delta_ack.through_seq
                on_ack()

    def patterns(self) -> dict[bytes, int]:
        """Return what is stored once everything acked is applied, and nothing else."""
        stored: dict[bytes, int] = {}
        for seq in range(1, self.acked + 1):
            for gone in removed_of(seq):
                stored.pop(Pattern(gone).pattern_id, None)
            stored |= {new.pattern_id: new.sample_count for new in upserts_of(seq)}
        return stored


def upserts_of(seq: int) -> list[Pattern]:
    return [] if removed_of(seq) else [Pattern(seq % PATTERNS, direction=seq, sample_count=seq)]


def removed_of(seq: int) -> list[int]:
    return [] if seq % 7 else [seq % PATTERNS]


@dataclass(frozen=True)
class Stored:
    """What is on disk for one device."""

    number: int
    seq: int
    patterns: dict[bytes, int]
    """Sample counts by pattern id."""


async def stored(devices: int, **settings: Any) -> list[Stored]:
    """Read the devices back, in the order of their numbers."""
    config = ShardConfig(**settings)
    async with open_reader(config) as reader:
        loaded = await load(reader, rules_of(config))
    assert loaded.problems == []
    table = loaded.table
    found = []
    for number in range(devices):
        slot = table.find_device(device_id(number))
        if slot < 0:
            continue
        rows = table.patterns[table.holding(np.array([slot], np.int64)).slots]
        found.append(
            Stored(
                number,
                int(table.devices["seq"][slot]),
                {row["pattern_id"].tobytes(): int(row["sample_count"]) for row in rows},
            )
        )
    return found


def pushing(devices: list[Device], shard: Serving, on_ack: Callable[[], None], end: int) -> Any:
    return asyncio.gather(*(device.push(shard, on_ack, end) for device in devices))


def after(acks: int, action: Callable[[], None]) -> Callable[[], None]:
    """Return what does something once it was called this often."""
    left = iter(range(acks))

    def count() -> None:
        if next(left, None) == acks - 1:
            action()

    return count
