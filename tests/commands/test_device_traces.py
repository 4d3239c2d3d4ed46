"""`constellation check --device` finds a device wherever it is, and proves that it is erased."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.commands.archives import export
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.scenarios.processes import run_command
from tests.sharing import share_patterns
from tests.transport.inbox_client import push_delta

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard

NUMBER = 0x5A1F0C4E9B7D4E1F8A6B3C2D1E0F9A8B
"""A device whose id stands nowhere by chance."""
ID = device_id(NUMBER).hex()
EXACT = 100


async def fill(shard: RunningShard) -> None:
    """Store the device among others, with what it likes, and make the index a partitioned one."""
    for other in range(4):
        patterns = [PatternSpec(n, direction=64 * other + n) for n in range(60)]
        await push_delta(shard.manager, other, 1, patterns)
    own = [PatternSpec(n, direction=900 + n, contents=("film:1",)) for n in range(5)]
    await push_delta(shard.manager, NUMBER, 1, own, (), [("film:1", 500_000)])
    await share_patterns(shard.manager)


async def test_a_device_is_found_everywhere_and_nowhere_once_it_is_deleted(tmp_path: Path) -> None:
    folder, archive = tmp_path / "shard", tmp_path / "before.jsonl"
    settings = {"data_dir": folder, "exact_limit": EXACT, "k_anonymity": 1}
    async with run_shard(**settings) as shard:
        await fill(shard)
    await export(archive, data_dir=folder)
    asked = ("check", "--device", ID, "--export", str(archive))

    before = await run_command(*asked, "--json", **settings)
    async with run_shard(**settings) as shard:
        await shard.manager.delete_device(device_id(NUMBER))
    after = await run_command(*asked, "--json", **settings)
    without_export = await run_command("check", "--device", ID, **settings)

    found = json.loads(before.out)
    assert before.status == 1
    assert (found["devices"], found["patterns"], found["indexed"]) == (1, 5, 5)
    assert list(found["files"]) == [str(folder / "shard.db")]
    assert found["exports"][str(archive)] > 1
    left = json.loads(after.out)
    assert after.status == 1
    assert {name: left[name] for name in ("devices", "patterns", "liked", "indexed")} == {
        "devices": 0, "patterns": 0, "liked": 0, "indexed": 0,
    }  # fmt: skip
    assert (left["files"], left["outdated_in_snapshot"], left["problems"]) == ({}, 0, [])
    assert left["exports"][str(archive)] == found["exports"][str(archive)]
    assert without_export.status == 0
    assert without_export.out.endswith("erased: nothing of it is held here\n")


async def test_a_snapshot_from_before_a_deletion_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "shard"
    settings = {"data_dir": folder, "exact_limit": EXACT, "k_anonymity": 1}
    async with run_shard(**settings) as shard:
        await fill(shard)
    (snapshot,) = folder.glob("index-*.snapshot")
    kept = snapshot.read_bytes()
    async with run_shard(**settings) as shard:
        await shard.manager.delete_device(device_id(NUMBER))
    for each in folder.glob("index-*.snapshot"):
        each.unlink()
    snapshot.write_bytes(kept)

    finished = await run_command("check", "--device", ID, **settings)

    assert finished.status == 1
    assert "were changed or deleted since: start the shard and stop it in order" in finished.out


async def test_postgresql_is_asked_as_well(postgres_url: str) -> None:
    async with run_shard(postgres_url=postgres_url) as shard:
        await push_delta(shard.manager, NUMBER, 1, [PatternSpec(1), PatternSpec(2)])
        before = await run_command("check", "--device", ID, "--json", postgres_url=postgres_url)
        await shard.manager.delete_device(device_id(NUMBER))
        after = await run_command("check", "--device", ID, postgres_url=postgres_url)

    assert (before.status, json.loads(before.out)["patterns"]) == (1, 2)
    assert json.loads(before.out)["indexed"] is None
    assert (after.status, "store: nothing" in after.out) == (0, True)


async def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no export", encoding="utf-8")
    async with run_shard(data_dir=tmp_path / "shard") as shard:
        await push_delta(shard.manager, NUMBER, 1, [PatternSpec(1)])

    options = ("--device", ID, "--export", str(tmp_path / "notes"))
    finished = await run_command("check", *options, data_dir=tmp_path / "shard")
    alone = await run_command("check", *options[2:], data_dir=tmp_path / "shard")

    assert finished.status == 1
    assert "is not a JSON object: is it an export?" in finished.err
    assert (alone.status, "--export needs --device" in alone.err) == (2, True)
