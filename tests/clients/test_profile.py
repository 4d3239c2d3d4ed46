from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation_settop import (
    Device,
    DeviceSettings,
    Feedback,
    InvalidArgumentError,
    StorageError,
    SyncSettings,
    View,
)
from tests.clients.samples import make_catalogue
from tests.clients.stored import read_liked, read_supporting
from tests.conftest import run_shard

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "127.0.0.1:1"
SETTINGS = DeviceSettings(sync=SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05))


async def test_profiles_survive_a_restart_each_with_its_own(tmp_path: Path) -> None:
    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        device.observe(View("0-1", 1.0))
        kids = device.profile("kids")
        kids.observe(View("2-1", 1.0))
        kids.feedback("2-2", Feedback.LIKED)
        kids.feedback("2-3", Feedback.DISLIKED)
        device.profile("guests")  # learns nothing

    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        assert device.profiles == ("", "kids")
        first = device.recommend(limit=1)[0].content_id
        kids_first = device.profile("kids").recommend(limit=1)[0].content_id
        status, kids_status = device.status(), device.profile("kids").status()

    assert (first[0], kids_first[0]) == ("0", "2")
    assert (kids_status.liked, kids_status.disliked, kids_status.patterns) == (2, 1, 1)
    assert (status.liked, status.disliked, status.patterns) == (3, 1, 2)
    assert status.profiles["kids"] == kids_status


async def test_a_removed_profile_is_gone_from_the_device_and_from_the_shards_store(
    tmp_path: Path,
) -> None:
    async with (
        run_shard(data_dir=tmp_path / "shard") as shard,
        Device.open(
            f"127.0.0.1:{shard.port}",
            data_dir=tmp_path / "device",
            catalogue=make_catalogue(),
            settings=SETTINGS,
        ) as device,
    ):
        kids = device.profile("kids")
        for content_id in ("0-0", "0-1", "3-0"):
            device.observe(View(content_id, 1.0))
        for content_id in ("2-0", "2-1", "3-0"):
            kids.observe(View(content_id, 1.0))
        await device.flush(10)
        device.outbox.compact_to_snapshot()  # tells all that is liked: signals are 4 an hour
        await device.flush(10)
        both = {"0-0", "0-1", "2-0", "2-1", "3-0"}
        assert (read_liked(shard, device), read_supporting(shard, device)) == (both, both)

        device.remove_profile("kids")
        await device.flush(10)
        kept = {"0-0", "0-1", "3-0"}

        assert (read_liked(shard, device), read_supporting(shard, device)) == (kept, kept)
        assert shard.manager.table.totals.patterns == 2
        assert device.profiles == ("",)
        with pytest.raises(InvalidArgumentError, match="there is no profile 'kids'"):
            kids.recommend()
    async with run_shard(data_dir=tmp_path / "shard") as again:  # what the store has on disk
        assert (read_liked(again, device), read_supporting(again, device)) == (kept, kept)


async def test_what_one_profile_forgets_another_one_may_keep(tmp_path: Path) -> None:
    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        kids = device.profile("kids")
        device.observe(View("0-1", 1.0))
        kids.observe(View("0-1", 1.0))
        kids.observe(View("0-2", 1.0))

        device.forget("0-1")
        assert [each.content_id for each in kids.brain.history.entries] == ["0-1", "0-2"]
        assert not device.brain.patterns
        kids.forget_everything()

        assert not kids.brain.patterns
        assert (kids.status().liked, device.status().liked) == (0, 0)
        assert "0-1" in {each.content_id for each in device.recommend(limit=40)}


async def test_the_whole_device_forgets_every_profile(tmp_path: Path) -> None:
    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        device.profile("kids").observe(View("0-1", 1.0))

        device.forget_everything()

        assert device.profile("kids").status().liked == 0
        assert not device.outbox.read_profiles()


async def test_a_profile_that_cannot_be_removed_stays_and_says_why(tmp_path: Path) -> None:
    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        kids = device.profile("kids")
        kids.observe(View("0-1", 1.0))
        device.save_changes()
        device.outbox.file.connection.execute("PRAGMA query_only=1")
        with pytest.raises(StorageError):
            device.remove_profile("kids")
        with pytest.raises(StorageError):
            kids.forget("0-1")
        device.outbox.file.connection.execute("PRAGMA query_only=0")

        assert kids.status().patterns == 0  # in memory it is forgotten, and the file is still to be
        with pytest.raises(InvalidArgumentError, match="default profile cannot be removed"):
            device.remove_profile("")
        with pytest.raises(InvalidArgumentError, match="there is no profile 'parents'"):
            device.remove_profile("parents")
        device.remove_profile("kids")
        assert device.outbox.read_profiles() == []
