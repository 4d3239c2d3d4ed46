"""A shard that is killed, stopped, started twice and damaged loses no acked delta."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
from typing import TYPE_CHECKING

import grpc

from tests.deltas import PatternSpec
from tests.scenarios.processes import run_command, run_shard_process
from tests.scenarios.replayable_devices import (
    ReplayableDevice,
    StoredDeviceState,
    call_after,
    push_all,
    read_stored_devices,
)
from tests.sync_client import make_delta_message, open_stream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sync_client import SyncStream

KILL_COUNT = 5
DEVICES = 24


async def test_no_acked_delta_is_lost_however_often_the_shard_is_killed(tmp_path: Path) -> None:
    chance = random.Random(0xC4A5)  # noqa: S311 - must be repeatable
    devices = [ReplayableDevice(number) for number in range(DEVICES)]
    for _ in range(KILL_COUNT):
        async with run_shard_process(tmp_path) as shard:
            kill = call_after(chance.randrange(1, 200), shard.process.kill)

            await push_all(devices, shard, kill, 10_000)

            assert (await shard.wait_for_exit()).status == -signal.SIGKILL
    end = max(device.acked_seq for device in devices) + 10
    async with run_shard_process(tmp_path) as shard:
        await push_all(devices, shard, lambda: None, end)
        shard.process.terminate()
        assert (await shard.wait_for_exit()).status == 0

    checked = await run_command("check", data_dir=tmp_path)

    assert (checked.status, checked.out[:3]) == (0, "ok:")
    assert {device.acked_seq for device in devices} == {end}
    assert await read_stored_devices(DEVICES, data_dir=tmp_path) == [
        StoredDeviceState(d.number, end, d.expected_patterns()) for d in devices
    ]


async def test_a_drained_shard_ends_with_status_0_and_has_stored_all_it_acked(
    tmp_path: Path,
) -> None:
    devices = [ReplayableDevice(number) for number in range(DEVICES)]
    async with run_shard_process(tmp_path) as shard:
        await push_all(devices, shard, call_after(60, shard.process.terminate), 10_000)

        finished = await shard.wait_for_exit()

    assert finished.status == 0
    assert '"shard_stopped"' in finished.err
    durable = {
        device.number: device.seq
        for device in await read_stored_devices(DEVICES, data_dir=tmp_path)
    }
    lost = {d.number: d.acked_seq for d in devices if d.acked_seq > durable.get(d.number, 0)}
    assert lost == {}
    assert sum(durable.values()) >= 60


async def test_a_second_process_on_one_data_directory_is_refused(tmp_path: Path) -> None:
    async with run_shard_process(tmp_path) as shard:
        second = await run_command("serve", data_dir=tmp_path, grpc_addr="127.0.0.1:0")

        assert second.status == 1
        assert f"{tmp_path} is in use by process {shard.process.pid}" in second.err
        assert "Traceback" not in second.err


async def test_a_shard_with_one_flipped_byte_is_detected_and_not_served(tmp_path: Path) -> None:
    device = ReplayableDevice(0)
    async with run_shard_process(tmp_path) as shard:
        await device.push(shard, lambda: None, 4)
        shard.process.terminate()
        assert (await shard.wait_for_exit()).status == 0
    flip_byte(tmp_path / "shard.db", marker=PatternSpec(2).pattern_id)

    served = await run_command("serve", data_dir=tmp_path, grpc_addr="127.0.0.1:0")
    checked = await run_command("check", data_dir=tmp_path)

    assert served.status == 1
    assert f"{tmp_path} is damaged" in served.err
    assert "Traceback" not in served.err
    assert checked.status == 1
    assert "pattern digest" in checked.out
    assert "DAMAGED: 1 devices, 4 patterns" in checked.out


async def test_nothing_is_acked_once_the_data_directory_is_removed(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with (
        run_shard_process(data_dir) as shard,
        grpc.aio.insecure_channel(shard.address) as channel,
        open_stream(channel) as stream,
    ):
        await stream.open()
        await stream.push(1, [PatternSpec(1)])

        shutil.rmtree(data_dir)
        await stream.send(delta=make_delta_message(2, [PatternSpec(2)]))

        assert "delta_ack" not in await receive_kinds_until_the_end(stream)
        finished = await shard.wait_for_exit()

    assert finished.status == 1
    assert f"constellation: {data_dir}/shard.db" in finished.err
    assert re.search(r"shard\.db\S* was removed or replaced while it was open", finished.err)
    assert "Traceback" not in finished.err


async def receive_kinds_until_the_end(stream: SyncStream) -> list[str | None]:
    """Return the kinds of frames that a shard still sends before it ends the stream."""
    kinds: list[str | None] = []
    with contextlib.suppress(grpc.aio.AioRpcError):  # the process is gone
        while (frame := await stream.receive()) is not None:
            kinds.append(frame.WhichOneof("frame"))
    return kinds


async def test_a_shard_without_devices_ends_once_its_data_directory_is_removed(
    tmp_path: Path,
) -> None:
    async with run_shard_process(tmp_path / "data") as shard:
        shutil.rmtree(tmp_path / "data")

        finished = await shard.wait_for_exit()

    assert finished.status == 1
    assert re.search(r"shard\.db\S* was removed or replaced while it was open", finished.err)
    assert "Traceback" not in finished.err


def flip_byte(database: Path, *, marker: bytes) -> None:
    data = bytearray(database.read_bytes())
    data[data.index(marker) + 200] ^= 0x10
    database.write_bytes(data)
