"""A shard is killed, stopped, started twice and damaged; nothing that was acked is lost."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

from tests.deltas import Pattern
from tests.scenarios.processes import run, serving
from tests.scenarios.replayable_devices import Device, Stored, after, pushing, stored

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 5
DEVICES = 24


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
    assert await stored(DEVICES, data_dir=tmp_path) == [
        Stored(d.number, end, d.patterns()) for d in devices
    ]


async def test_a_drained_shard_ends_well_and_has_stored_all_it_acked(
    tmp_path: Path,
) -> None:
    devices = [Device(number) for number in range(DEVICES)]
    async with serving(tmp_path) as shard:
        await pushing(devices, shard, after(60, shard.process.terminate), 10_000)

        finished = await shard.ended()

    assert finished.status == 0
    assert '"shard_stopped"' in finished.err
    durable = {device.number: device.seq for device in await stored(DEVICES, data_dir=tmp_path)}
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
