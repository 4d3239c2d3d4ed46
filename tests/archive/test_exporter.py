from __future__ import annotations

from constellation.archive.exporter import to_content_line, to_count_lines, to_device_lines
from constellation.archive.importer import ArchiveImporter
from constellation.core.loading import LoadedShard, load_shard
from constellation.core.rules import Rules
from tests.archive.samples import ArchiveLines, fill_store, make_archive, make_device

RULES = Rules(max_devices=10_000, max_patterns=10_000)


async def load_archive(archive: ArchiveLines) -> LoadedShard:
    return await load_shard(await fill_store(archive, ArchiveImporter()), RULES)


async def test_devices_and_counts_are_exported_as_they_were_imported() -> None:
    archive = make_archive()

    loaded = await load_archive(archive)

    assert list(to_device_lines(loaded)) == archive["device"]
    assert list(to_count_lines(loaded)) == archive["count"]


async def test_content_items_are_exported_as_they_were_imported() -> None:
    archive = make_archive()

    store = await fill_store(archive, ArchiveImporter())

    contents = await store.list_contents("", 10)
    assert [to_content_line(content) for content in contents] == archive["content"]


async def test_devices_are_in_the_order_of_their_ids_whatever_their_slots() -> None:
    device_ids = [f"{number:032x}" for number in (2**127, 5, 2**64)]
    loaded = await load_archive({"device": [make_device(n) for n in range(1, 4)]})
    loaded.table.devices["device_id"][:3] = [bytes.fromhex(each) for each in device_ids]

    found = [line["device_id"] for line in to_device_lines(loaded)]

    assert found == sorted(device_ids)


async def test_devices_beyond_one_block_are_all_exported() -> None:
    devices = [make_device(number) for number in range(1, 1200)]

    loaded = await load_archive({"device": devices})

    assert list(to_device_lines(loaded)) == devices


async def test_a_success_rate_is_written_with_the_fewest_digits_that_are_exact() -> None:
    loaded = await load_archive(make_archive())

    rates = [
        pattern["success_rate"] for line in to_device_lines(loaded) for pattern in line["patterns"]
    ]

    assert rates == [0.74, 0.74, 0.7]
