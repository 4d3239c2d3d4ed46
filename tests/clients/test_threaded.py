from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from constellation_settop import (
    Device,
    DeviceSettings,
    Feedback,
    InvalidArgumentError,
    Profile,
    StorageError,
    SyncSettings,
    ThreadedDevice,
    ThreadedProfile,
    UnreachableError,
    View,
)
from tests.clients.samples import make_catalogue
from tests.conftest import run_shard

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "127.0.0.1:1"
SETTINGS = DeviceSettings(sync=SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05))
PARTS = {"brain", "household", "keeper", "open", "outbox", "start", "storage_problem", "sync"}


def list_methods(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}


def test_everything_that_a_device_does_can_be_done_from_a_thread() -> None:
    assert list_methods(Device) - PARTS == list_methods(ThreadedDevice) - {"close"}
    assert list_methods(Profile) - {"brain"} == list_methods(ThreadedProfile)


async def test_threads_share_a_device_that_learns_and_syncs(tmp_path: Path) -> None:
    catalogue = make_catalogue()
    async with run_shard() as shard:

        def use(address: str) -> None:
            with Device.start(
                address, data_dir=tmp_path, catalogue=catalogue, settings=SETTINGS
            ) as device:

                def watch(number: int) -> float:
                    device.recommend(limit=3)
                    profile = device.profile(f"room {number % 3}")
                    return profile.observe(View(f"0-{number}", 1.0))

                with ThreadPoolExecutor(4) as pool:
                    rewards = list(pool.map(watch, range(10)))
                device.flush(10)
                status = device.status()
                assert rewards == [1.0] * 10
                assert (status.liked, status.waiting_deltas, len(device.profiles)) == (10, 0, 4)

                device.feedback("1-1", Feedback.LIKED)
                device.profile("room 0").forget_everything()
                device.remove_profile("room 1")
                device.sharing = False
                assert not device.sharing
                device.sharing = True
                device.forget("1-1")
                device.sync_soon()
                device.flush(10)
                assert device.profile("room 2").status().liked == 3

        await asyncio.to_thread(use, f"127.0.0.1:{shard.port}")
        assert shard.manager.table.totals.patterns == 1


def test_errors_reach_the_caller(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make"):
        Device.start(NOWHERE, data_dir=tmp_path / "file", catalogue=make_catalogue())

    device = Device.start(NOWHERE, data_dir=tmp_path / "a", catalogue=make_catalogue())
    with pytest.raises(InvalidArgumentError, match="watch_percentage"):
        device.observe(View("0-0", 7.0))
    with pytest.raises(StorageError, match="open in another process"):
        Device.start(NOWHERE, data_dir=tmp_path / "a", catalogue=make_catalogue())
    device.observe(View("0-0", 1.0))
    with pytest.raises(UnreachableError, match="not complete within"):
        device.flush(0.05)
    device.close()
    device.close()
    with pytest.raises(InvalidArgumentError, match="is closed"):
        device.recommend()
    assert not any(each.name == "settop_device" for each in threading.enumerate())


def test_what_was_learned_is_saved_by_close(tmp_path: Path) -> None:
    with Device.start(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        device.profile("kids").observe(View("0-0", 1.0))

    with Device.start(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        assert device.profiles == ("", "kids")
        assert device.profile("kids").status().liked == 1
