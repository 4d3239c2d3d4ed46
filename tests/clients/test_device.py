from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation_settop import (
    Device,
    DeviceSettings,
    Feedback,
    InvalidArgumentError,
    StorageError,
    SyncSettings,
    UnreachableError,
    View,
)
from tests.clients.catalogue_model import make_item
from tests.clients.quick_device import QUICK, open_quick_device
from tests.clients.samples import make_catalogue, make_popular_update
from tests.clients.stub_shard import StubShard, serve_stub

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "127.0.0.1:1"


async def test_a_device_learns_and_recommends_without_any_network(tmp_path: Path) -> None:
    for number in range(3):
        async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
            device.observe(View(f"0-{number}", 1.0, 1.0))
            assert device.recommend(limit=3)[0].content_id.startswith("0-")

    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        (pattern,) = device.brain.patterns
        assert pattern.sample_count == 3
        assert [pending.seq for pending in device.outbox.pending_deltas] == [1, 2, 3]


async def test_what_a_device_learns_is_sent_without_being_asked(tmp_path: Path) -> None:
    stub = StubShard()
    settings = DeviceSettings(delta_interval_seconds=0.01, sync=QUICK)
    async with (
        serve_stub(stub) as address,
        Device.open(
            address, data_dir=tmp_path, catalogue=make_catalogue(), settings=settings
        ) as device,
    ):
        device.observe(View("0-1", 1.0, 1.0, watched_at=7200))
        while not stub.model.counted_signals:
            await asyncio.wait_for(stub.received_deltas.get(), 5)

    assert stub.model.counted_signals == ["0-1"]


async def test_a_new_global_state_changes_recommendations(tmp_path: Path) -> None:
    stub = StubShard()
    stub.pull_update = make_popular_update("north", ["3-3"])
    settings = DeviceSettings(sync=SyncSettings(stay_connected=False))
    async with (
        serve_stub(stub) as address,
        Device.open(
            address, data_dir=tmp_path, catalogue=make_catalogue(), settings=settings
        ) as device,
    ):
        assert device.recommend(limit=1)[0].reason == "New to you"
        await device.sync.wait_for_update(5)

        first = device.recommend(limit=1)[0]

    assert (first.content_id, first.reason) == ("3-3", "Popular in north")


async def test_saving_without_news_makes_no_delta(tmp_path: Path) -> None:
    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        device.observe(View("0-1", 1.0, 1.0))

        assert list(device.save_changes()) == [1]
        assert list(device.save_changes()) == []


async def test_what_a_full_disk_refused_is_saved_once_there_is_room(tmp_path: Path) -> None:
    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        connection = device.outbox.file.connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
        for number in range(10):
            device.observe(View(f"0-{number}", 1.0, 1.0))
            device.observe(View(f"1-{number}", 1.0, 1.0))
        with pytest.raises(StorageError):
            device.save_changes()

        connection.execute("PRAGMA max_page_count=1000000")

        assert list(device.save_changes()) == [1]
        assert len(device.outbox.read_learned()) == 2


async def test_a_full_disk_stops_neither_learning_nor_ranking_and_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="constellation_settop")
    settings = DeviceSettings(sync=QUICK)
    async with Device.open(
        NOWHERE, data_dir=tmp_path, catalogue=make_catalogue(), settings=settings
    ) as device:
        connection = device.outbox.file.connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
        for number in range(10):
            device.observe(View(f"0-{number}", 1.0, 1.0))
            device.observe(View(f"1-{number}", 1.0, 1.0))
            device.sync_soon()
        problem, learned = device.storage_problem, len(device.brain.patterns)
        choices = device.recommend(limit=3)
        connection.execute("PRAGMA max_page_count=1000000")
        device.sync_soon()

        assert device.storage_problem is None
        assert list(device.outbox.pending_deltas)
    assert problem is not None
    assert "disk is full: free space on the disk" in problem
    assert (learned, len(choices)) == (2, 3)
    about_the_file = [each.message for each in caplog.records if "file can" in each.message]
    assert len(about_the_file) == 2
    assert "what is learned stays in memory" in about_the_file[0]
    assert about_the_file[1] == "the device's file can be written again"


async def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="give a directory that exists and that this process"):
        async with Device.open(
            NOWHERE, data_dir=tmp_path / "file" / "below", catalogue=make_catalogue()
        ):
            pass


async def test_a_global_state_that_cannot_be_read_leaves_ranking_to_what_the_device_knows(
    tmp_path: Path,
) -> None:
    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        device.observe(View("0-1", 1.0, 1.0))
        device.outbox.file.connection.execute("DROP TABLE clusters")

        assert device.recommend(limit=1)[0].content_id.startswith("0-")


async def test_flushing_without_a_shard_raises_after_the_deadline(tmp_path: Path) -> None:
    settings = DeviceSettings(sync=QUICK)
    async with Device.open(
        NOWHERE, data_dir=tmp_path, catalogue=make_catalogue(), settings=settings
    ) as device:
        device.observe(View("0-1", 1.0, 1.0))
        with pytest.raises(UnreachableError, match=r"not complete within 0\.1 s"):
            await device.flush(0.1)

        assert [pending.seq for pending in device.outbox.pending_deltas] == [1]


async def test_a_file_of_another_device_is_refused_by_its_id(tmp_path: Path) -> None:
    for device_id in (bytes(16), bytes([1] * 16)):
        settings = DeviceSettings(device_id=device_id)
        opening = Device.open(
            NOWHERE, data_dir=tmp_path, catalogue=make_catalogue(), settings=settings
        )
        if device_id == bytes(16):
            async with opening:
                continue
        with pytest.raises(InvalidArgumentError, match=f"another device, {bytes(16).hex()}"):
            async with opening:
                pass


async def test_what_is_forgotten_is_withdrawn_at_the_shard(tmp_path: Path) -> None:
    stub = StubShard()
    async with open_quick_device(stub, tmp_path) as device:
        for content_id in ("0-0", "0-1", "1-0"):
            device.observe(View(content_id, 1.0))
        await device.flush(5)
        assert stub.model.liked_ids == ["0-0", "0-1", "1-0"]
        patterns = set(stub.model.stored_patterns)

        device.forget("0-1")
        await device.flush(5)

        assert stub.model.liked_ids == ["0-0", "1-0"]
        assert set(stub.model.stored_patterns) == {
            each.pattern_id for each in device.brain.patterns
        }
        assert not patterns & set(stub.model.stored_patterns)
    async with open_quick_device(stub, tmp_path) as device:
        assert {each.content_ids for each in device.brain.patterns} == {("0-0",), ("1-0",)}


async def test_forgetting_everything_empties_the_shard_under_a_new_incarnation(
    tmp_path: Path,
) -> None:
    stub = StubShard()
    async with open_quick_device(stub, tmp_path) as device:
        device.observe(View("0-0", 1.0))
        await device.flush(5)

        device.forget_everything()
        await device.flush(5)
        device.observe(View("1-1", 1.0))
        await device.flush(5)

    assert stub.model.liked_ids == ["1-1"]
    assert len(stub.model.stored_patterns) == 1
    assert len({hello.incarnation for hello in stub.hellos}) == 2
    assert len({hello.device_id for hello in stub.hellos}) == 1


async def test_without_sharing_nothing_leaves_and_recommending_goes_on(tmp_path: Path) -> None:
    stub = StubShard()
    async with open_quick_device(stub, tmp_path) as device:
        device.observe(View("0-0", 1.0))
        await device.flush(5)
        assert stub.model.stored_patterns

        device.sharing = False
        await device.flush(5)

        assert (stub.model.stored_patterns, stub.model.liked_ids) == ({}, [])
        assert stub.hellos[-1].held_related_ids == b""
        device.observe(View("0-1", 1.0))
        device.sync_soon()
        assert device.recommend(limit=1)[0].content_id.startswith("0-")
        assert not device.status().waiting_deltas
    sessions = len(stub.hellos)
    async with open_quick_device(stub, tmp_path) as device:
        assert not device.sharing
        device.observe(View("0-2", 1.0))
        device.sync_soon()
        await device.flush(5)
        assert len(stub.hellos) == sessions

        device.sharing = True
        await device.flush(5)

    assert stub.model.liked_ids == ["0-0", "0-1", "0-2"]
    assert len(stub.model.stored_patterns) == 1


async def test_a_dislike_withdraws_what_was_liked(tmp_path: Path) -> None:
    stub = StubShard()
    async with open_quick_device(stub, tmp_path) as device:
        device.observe(View("0-0", 1.0))
        device.observe(View("0-1", 1.0))
        await device.flush(5)

        device.feedback("0-0", Feedback.DISLIKED)
        await device.flush(5)

        assert stub.model.liked_ids == ["0-1"]
        assert "0-0" not in {choice.content_id for choice in device.recommend(limit=40)}


async def test_what_could_not_be_forgotten_is_said(tmp_path: Path) -> None:
    async with Device.open(NOWHERE, data_dir=tmp_path, catalogue=make_catalogue()) as device:
        device.observe(View("0-0", 1.0))
        device.save_changes()
        connection = device.outbox.file.connection
        connection.execute("PRAGMA query_only=1")
        with pytest.raises(StorageError):
            device.forget("0-0")
        connection.execute("PRAGMA query_only=0")

        device.forget("0-0")

        assert not device.outbox.read_history()
        assert not device.outbox.read_learned()


async def test_a_device_gets_its_catalogue_from_the_shard_and_keeps_it_current(
    tmp_path: Path,
) -> None:
    stub = StubShard()
    stub.catalogue.add(*(make_item(f"0-{each}", seed=each + 1) for each in range(20)))
    stub.model.catalogue_digest = stub.catalogue.digest
    settings = DeviceSettings(sync=QUICK)
    async with serve_stub(stub) as address:
        async with Device.open(address, data_dir=tmp_path, settings=settings) as device:
            assert device.recommend() == []
            await device.wait_for_catalogue(5)
            device.observe(View("0-3", 1.0))
            assert len(device.recommend(limit=40)) == 19
            await device.flush(5)
        stub.catalogue.add(make_item("1-new", seed=99))
        stub.model.catalogue_digest = stub.catalogue.digest
        async with Device.open(address, data_dir=tmp_path, settings=settings) as device:
            await device.wait_for_catalogue(0)  # there is a copy already
            await device.flush(5)
            assert device.keeper is not None
            await device.keeper.wait_for_update(5)
            assert len(device.recommend(limit=40)) == 20
    assert [len(each) for each in stub.catalogue_requests] == [0, 16]
    async with Device.open(NOWHERE, data_dir=tmp_path, settings=settings) as device:
        assert len(device.recommend(limit=40)) == 20


async def test_a_device_without_a_catalogue_says_what_it_waits_for(tmp_path: Path) -> None:
    stub = StubShard()
    stub.catalogue.failure = grpc.StatusCode.UNIMPLEMENTED
    stub.model.catalogue_digest = 7
    settings = DeviceSettings(sync=QUICK)
    async with (
        serve_stub(stub) as address,
        Device.open(address, data_dir=tmp_path, settings=settings) as device,
    ):
        with pytest.raises(UnreachableError, match=r"no catalogue within 0\.5 s: .*UNIMPLEMENTED"):
            await device.wait_for_catalogue(0.5)
        assert device.recommend() == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"address": "localhost"}, "an address must be \"host:port\", .* got 'localhost'"),
        ({"address": "http://localhost:50051"}, 'an address must be "host:port"'),
        ({"address": 50051}, 'an address must be "host:port", .* got 50051'),
        ({"catalogue": ["a"]}, "catalogue must be a Catalogue, got list: write"),
        ({"catalogue": "catalogue.bin"}, "got str: write .*Catalogue.read"),
        ({"settings": {}}, "settings must be DeviceSettings, got dict"),
    ],
)
async def test_wrong_arguments_are_refused_by_name(
    arguments: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgumentError, match=problem):
        async with Device.open(**{"address": NOWHERE, "data_dir": tmp_path, **arguments}):
            pass


def test_an_interval_is_positive() -> None:
    with pytest.raises(InvalidArgumentError, match="delta_interval_seconds must be above 0, got 0"):
        DeviceSettings(delta_interval_seconds=0)


async def test_waiting_for_an_empty_catalogue_says_what_to_do(tmp_path: Path) -> None:
    stub = StubShard()
    async with (
        serve_stub(stub) as address,
        Device.open(address, data_dir=tmp_path, settings=DeviceSettings(sync=QUICK)) as device,
    ):
        await device.flush(5)
        await asyncio.wait_for(stub.opened_streams.get(), 5)
        with pytest.raises(UnreachableError, match="catalogue is empty: give it films with"):
            await device.wait_for_catalogue(0.5)
