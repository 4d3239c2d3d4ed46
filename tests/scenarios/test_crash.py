"""A shard is killed, stopped, started twice and damaged; nothing that was acked is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from constellation.core.recovery import recover
from constellation.core.rules import Rules
from constellation.storage.sqlite import open_sqlite
from tests.batches import Pattern, device_id
from tests.devices import Stream, hello, stream, to_message
from tests.scenarios.processes import Serving, run, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLS = 5
DEVICES = 24
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


async def stored(data_dir: Path) -> list[Stored]:
    """Read the devices back, in the order of their numbers."""
    async with open_sqlite(data_dir) as store:
        recovered = await recover(store, Rules(), None, exact_limit=50_000)
    assert recovered.problems == []
    table = recovered.table
    found = []
    for number in range(DEVICES):
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


async def test_no_acked_delta_is_lost_however_often_the_shard_is_killed(tmp_path: Path) -> None:
    chance = random.Random(0xC4A5)  # noqa: S311 - repeatable
    devices = [Device(number) for number in range(DEVICES)]
    for _ in range(KILLS):
        async with serving(tmp_path) as shard:
            kill = after(chance.randrange(1, 200), shard.process.kill)

            await pushing(devices, shard, kill, 10_000)

            assert (await shard.ended()).status == -signal.SIGKILL
    end = max(device.acked for device in devices) + 10
    async with serving(tmp_path) as shard:
        await pushing(devices, shard, lambda: None, end)
        shard.process.terminate()
        assert (await shard.ended()).status == 0

    checked = await run("check", data_dir=tmp_path)

    assert (checked.status, checked.out[:3]) == (0, "ok:")
    assert {device.acked for device in devices} == {end}
    assert await stored(tmp_path) == [Stored(d.number, end, d.patterns()) for d in devices]


async def test_a_drained_shard_ends_well_and_has_stored_all_it_acked(
    tmp_path: Path,
) -> None:
    devices = [Device(number) for number in range(DEVICES)]
    async with serving(tmp_path) as shard:
        await pushing(devices, shard, after(60, shard.process.terminate), 10_000)

        finished = await shard.ended()

    assert finished.status == 0
    assert '"shard_stopped"' in finished.err
    durable = {device.number: device.seq for device in await stored(tmp_path)}
    lost = {d.number: d.acked for d in devices if d.acked > durable.get(d.number, 0)}
    assert lost == {}
    assert sum(durable.values()) >= 60


async def test_a_second_process_on_one_data_directory_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as shard:
        second = await run("serve", data_dir=tmp_path, grpc_addr="127.0.0.1:0")

        assert second.status == 1
        assert f"{tmp_path} is in use by process {shard.process.pid}" in second.err
        assert "Traceback" not in second.err


async def test_one_flipped_byte_is_found_and_never_served(tmp_path: Path) -> None:
    device = Device(0)
    async with serving(tmp_path) as shard:
        await device.push(shard, lambda: None, 4)
        shard.process.terminate()
        assert (await shard.ended()).status == 0
    flip_a_byte(tmp_path / "shard.db", behind=Pattern(2).pattern_id)

    served = await run("serve", data_dir=tmp_path, grpc_addr="127.0.0.1:0")
    checked = await run("check", data_dir=tmp_path)

    assert served.status == 1
    assert f"{tmp_path} is damaged" in served.err
    assert "Traceback" not in served.err
    assert checked.status == 1
    assert "pattern digest" in checked.out
    assert "DAMAGED: 1 devices, 4 patterns" in checked.out


def flip_a_byte(database: Path, *, behind: bytes) -> None:
    data = bytearray(database.read_bytes())
    data[data.index(behind) + 200] ^= 0x10
    database.write_bytes(data)
