from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from constellation_settop import Brain, Device, DeviceSettings, Feedback, SyncSettings, View
from testing.ports import find_free_address
from tests.clients.samples import make_catalogue
from tests.clients.stored import read_liked
from tests.clients.test_against_a_shard import run_shard_process
from tests.conftest import run_shard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOWHERE = "127.0.0.1:1"
CATALOGUE = make_catalogue(themes=4, contents=40)
SETTINGS = DeviceSettings(
    delta_interval_seconds=3600,
    sync=SyncSettings(backoff_base_seconds=0.02, backoff_cap_seconds=0.1),
)


async def watch_and_be_killed(
    address: str, data_dir: Path, first: int, count: int, interval: float = 3600
) -> list[str]:
    """Let a device in a process of its own watch, kill it in the midst, and return what it saw."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.clients.killed_device", address, str(data_dir)),
        *(str(first), str(count), str(interval)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    seen = []
    for _ in range(count // 2):
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        seen.append(line.decode().strip())
    process.kill()
    rest = await process.stdout.read()
    await process.wait()
    return [*seen, *rest.decode().split()]


async def test_a_power_cut_loses_at_most_the_view_in_flight(tmp_path: Path) -> None:
    seen: list[str] = []
    patterns: list[int] = []
    for _ in range(3):
        seen += await watch_and_be_killed(NOWHERE, tmp_path, len(seen), 12)

        async with Device.open(
            NOWHERE, data_dir=tmp_path, catalogue=CATALOGUE, settings=SETTINGS
        ) as device:
            kept = [each.content_id for each in device.brain.history.entries]
            patterns = sorted(each.sample_count for each in device.brain.patterns)
        assert kept[: len(seen)] == seen
        assert len(kept) <= len(seen) + 1  # one may have been observed and not printed
        seen = kept

    never_killed = Brain(CATALOGUE)
    for content_id in seen:
        never_killed.observe(View(content_id, 0.95, watched_at=1e9))
    assert patterns == sorted(each.sample_count for each in never_killed.patterns)


async def test_liked_lists_survive_kills_of_the_device_and_of_the_shard(tmp_path: Path) -> None:
    address, data_dir, store = find_free_address(), tmp_path / "device", tmp_path / "shard"
    watched = 0
    for _ in range(3):
        async with run_shard_process(address, store):
            watched += len(await watch_and_be_killed(address, data_dir, watched, 12, 0.05))
        watched += len(await watch_and_be_killed(address, data_dir, watched, 6, 0.05))

    async with (
        run_shard(data_dir=store) as shard,
        Device.open(
            f"127.0.0.1:{shard.port}", data_dir=data_dir, catalogue=CATALOGUE, settings=SETTINGS
        ) as device,
    ):
        await device.flush(20)
        liked = {each.content_id for each in device.brain.history.entries}
        stored = read_liked(shard, device)

    assert len(liked) >= 27
    assert stored == liked


async def test_a_view_that_taught_nothing_does_not_stay_in_the_file(tmp_path: Path) -> None:
    async with Device.open(
        NOWHERE, data_dir=tmp_path, catalogue=CATALOGUE, settings=SETTINGS
    ) as device:
        device.observe(View("elsewhere", 0.05))
        await wait_for_kept(device, 1)

        assert device.save_changes() == ()
        assert device.outbox.read_views() == []


async def run_until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds; raise TimeoutError when it does not."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # a file notifies nobody
            await asyncio.sleep(0)


async def wait_for_kept(device: Device, count: int) -> None:
    await run_until(lambda: len(device.outbox.read_views()) == count)


async def test_forgetting_and_saving_leave_no_view_behind(tmp_path: Path) -> None:
    async with Device.open(
        NOWHERE, data_dir=tmp_path, catalogue=CATALOGUE, settings=SETTINGS
    ) as device:
        kids = device.profile("kids")
        device.observe(View("0-1", 0.95))
        kids.feedback("0-2", Feedback.DISLIKED)
        kids.observe(View("0-3", 0.95))
        await wait_for_kept(device, 3)

        kids.forget("0-3")
        assert [each.profile for each in device.outbox.read_views()] == [""]
        device.save_changes()
        assert device.outbox.read_views() == []

        device.observe(View("0-4", 0.95))
        await wait_for_kept(device, 1)
        device.forget_everything()
        assert device.outbox.read_views() == []


async def test_unsaved_views_are_learned_again_by_their_profiles(tmp_path: Path) -> None:
    async with Device.open(
        NOWHERE, data_dir=tmp_path, catalogue=CATALOGUE, settings=SETTINGS
    ) as device:
        device.profile("kids").observe(View("0-1", 0.95, 0.9, watched_at=1e9))
        device.profile("kids").feedback("0-2", Feedback.DISLIKED)
        device.observe(View("1-1", 0.95, watched_at=1e9))
        await wait_for_kept(device, 3)
        views = device.outbox.read_views()
        device.save_changes()
        device.forget_everything()
        device.outbox.keep_views(views)  # as a power failure before saving would leave the file

    async with Device.open(
        NOWHERE, data_dir=tmp_path, catalogue=CATALOGUE, settings=SETTINGS
    ) as device:
        assert device.profiles == ("", "kids")
        status = device.status().profiles
        first = device.profile("kids").brain.history.entries[0]

    assert (status["kids"].liked, status["kids"].disliked, status[""].liked) == (1, 1, 1)
    assert (first.content_id, first.watched_at) == ("0-1", 1_000_000_000)


async def test_views_wait_in_memory_while_the_disk_is_full(tmp_path: Path) -> None:
    settings = replace(SETTINGS, delta_interval_seconds=0.01)
    async with Device.open(
        NOWHERE, data_dir=tmp_path, catalogue=CATALOGUE, settings=settings
    ) as device:
        device.outbox.file.connection.execute("PRAGMA query_only=1")
        device.observe(View("0-1", 0.95))
        await run_until(lambda: device.storage_problem is not None)
        device.outbox.file.connection.execute("PRAGMA query_only=0")
        await run_until(lambda: bool(device.outbox.pending_deltas))

        assert device.storage_problem is None
        assert [each.content_id for each in device.outbox.read_history()] == ["0-1"]
