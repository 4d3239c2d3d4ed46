"""A shard exported and imported again, from every store into every other."""

from __future__ import annotations

import asyncio
import json
import re
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from constellation.archive.importer import ArchiveImporter
from constellation.archive.lines import HEADER_LINE, parse_line
from constellation.commands.import_ import run_import
from constellation.config import ShardConfig
from constellation.core.store import CommitWrites, Content
from constellation.errors import InvalidInputError
from constellation.storage.sqlite.store import open_sqlite
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.scenarios.processes import CommandResult, run_command
from tests.transport.inbox_client import push_delta

if TYPE_CHECKING:
    from constellation.server import RunningShard

FILM = Content("film:1", "Solaris — Солярис", 1, ("drama", "科幻"), 1972, bytes(range(1, 129)) * 3)


async def fill_shard(shard: RunningShard) -> None:
    """Store a bit of everything: contents, freed slots, words, signals, a fresh incarnation."""
    manager, hour = shard.manager, int(time.time()) // 3600
    await manager.committer.add_contents([FILM])
    for device in range(40):
        patterns = [
            PatternSpec(
                number,
                direction=device * 8 + number,
                success_rate=0.7 + 0.01 * number,
                genres=("drama", "noir")[: number % 3],
                contents=("film:1", f"film:{number}")[: number % 3],
            )
            for number in range(6)
        ]
        await push_delta(manager, device, 1, patterns)
        signals = [("film:1", hour), (f"film:{device % 3}", hour)]
        await push_delta(manager, device, 2, [PatternSpec(2, direction=device)], [1, 3], signals)


def make_store_settings(kind: str, tmp_path: Path, url: str) -> dict[str, Any]:
    return {"postgres_url": url} if kind == "postgres" else {"data_dir": tmp_path / kind}


async def export(to: Path, **settings: Any) -> CommandResult:
    finished = await run_command("export", str(to), **settings)
    assert finished.status == 0, finished.err
    return finished


@pytest.mark.parametrize("source", ["sqlite", "postgres"])
async def test_an_import_exports_the_same_bytes(
    tmp_path: Path, postgres_url: str, source: str
) -> None:
    target = "postgres" if source == "sqlite" else "sqlite"
    async with run_shard(**make_store_settings(source, tmp_path, postgres_url)) as shard:
        await fill_shard(shard)
        if source == "postgres":  # it can be read while it serves
            await export(
                tmp_path / "live.jsonl", **make_store_settings(source, tmp_path, postgres_url)
            )
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    told = await export(first, **make_store_settings(source, tmp_path, postgres_url))

    imported = await run_command(
        "import", str(first), **make_store_settings(target, tmp_path, postgres_url)
    )
    checked = await run_command("check", **make_store_settings(target, tmp_path, postgres_url))
    await export(second, **make_store_settings(target, tmp_path, postgres_url))

    assert told.err == "exported 1 contents, 40 devices, 160 patterns, 5 counts\n"
    assert imported.err.endswith("imported 1 contents, 40 devices, 160 patterns, 5 counts\n")
    assert (checked.status, checked.out[:29]) == (0, "ok: 40 devices, 160 patterns,")
    assert second.read_bytes() == first.read_bytes()
    if source == "postgres":
        assert (tmp_path / "live.jsonl").read_bytes() == first.read_bytes()
    async with run_shard(**make_store_settings(target, tmp_path, postgres_url)) as shard:
        assert shard.manager.catalogue.count == 1
        assert await shard.manager.catalogue.get("film:1") == FILM
        again = await push_delta(shard.manager, 7, 3, [PatternSpec(9)])
        assert again.through_seq == 3  # devices go on where they were


async def test_an_export_is_readable(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path / "sqlite") as shard:
        await fill_shard(shard)

    await export(tmp_path / "out.jsonl", data_dir=tmp_path / "sqlite")

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0] == {"format": "constellation", "version": 1}
    assert lines[1]["content"]["title"] == "Solaris — Солярис"
    device = lines[2]["device"]
    assert (device["device_id"], device["incarnation"], device["seq"]) == ("01" + "00" * 15, 1, 2)
    pattern = device["patterns"][2]
    assert pattern["pattern_id"] == "00" * 15 + "05"
    assert (pattern["success_rate"], pattern["sample_count"]) == (0.74, 3)
    assert (pattern["genres"], pattern["content_ids"]) == (["drama"], ["film:1"])
    hour = lines[-2]["count"]["hour"]
    assert [line["count"] for line in lines[-6:-1]] == [
        {"hour": hour, "genre": "drama", "devices": 40},
        {"hour": hour, "genre": "科幻", "devices": 40},
        {"hour": hour, "content_id": "film:0", "devices": 14},
        {"hour": hour, "content_id": "film:1", "devices": 40},
        {"hour": hour, "content_id": "film:2", "devices": 13},
    ]
    assert lines[-1] == {"end": {"contents": 1, "devices": 40, "patterns": 160, "counts": 5}}


async def test_an_export_without_counts_of_genres_is_imported(tmp_path: Path) -> None:
    counts = [
        {"hour": 500_000, "content_id": "film:1", "devices": 3},
        {"hour": 500_000, "content_id": "film:2", "devices": 1},
        {"hour": 500_001, "content_id": "film:1", "devices": 2},
    ]
    end = {"contents": 0, "devices": 0, "patterns": 0, "counts": 3}
    lines = [HEADER_LINE, *({"count": count} for count in counts), {"end": end}]
    file = tmp_path / "earlier.jsonl"
    file.write_text("".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines))

    imported = await run_command("import", str(file), data_dir=tmp_path / "sqlite")
    await export(tmp_path / "again.jsonl", data_dir=tmp_path / "sqlite")

    assert imported.status == 0, imported.err
    assert (tmp_path / "again.jsonl").read_bytes() == file.read_bytes()


async def export_lines(tmp_path: Path) -> list[str]:
    async with run_shard(data_dir=tmp_path / "sqlite") as shard:
        await push_delta(shard.manager, 0, 1, [PatternSpec(1, contents=("a",))])
        await push_delta(shard.manager, 1, 1, [PatternSpec(1)])
    await export(tmp_path / "good.jsonl", data_dir=tmp_path / "sqlite")
    return (tmp_path / "good.jsonl").read_text().splitlines()


def break_pattern(line: str, **changes: Any) -> str:
    """Return a device's line with another first pattern."""
    device = json.loads(line)
    device["device"]["patterns"][0] |= changes
    return json.dumps(device)


async def test_a_damaged_export_changes_nothing(tmp_path: Path) -> None:
    head, first, second, end = await export_lines(tmp_path)
    cases = {
        "is cut short": [head, first, second],
        "but its last line says": [head, first, end],
        "line 1 must be": [first, second, end],
        "line 2 is not a JSON object": [head, first[:-9], second, end],
        "twice or out of order": [head, second, first, end],
        "line 2 is wrong: a success_rate must be from 0 to 1, got 1.5": [
            head,
            break_pattern(first, success_rate=1.5),
            second,
            end,
        ],
        "line 3 has the unknown kind 'surprise'": [head, first, '{"surprise": {}}', end],
        "goes on after its last line": [head, first, second, end, first],
    }

    for message, lines in cases.items():
        (tmp_path / "bad.jsonl").write_text("\n".join(lines) + "\n")
        config = ShardConfig(data_dir=tmp_path / "new")

        with pytest.raises(InvalidInputError, match=re.escape(message)):
            await run_import(config, Namespace(file=tmp_path / "bad.jsonl"))

        assert not (tmp_path / "new").exists()
    finished = await run_command("import", str(tmp_path / "bad.jsonl"), data_dir=tmp_path / "new")
    assert (finished.status, "goes on after its last line" in finished.err) == (1, True)


async def test_an_import_needs_an_empty_store_and_enough_room(tmp_path: Path) -> None:
    await export_lines(tmp_path)
    file = str(tmp_path / "good.jsonl")

    full = await run_command("import", file, data_dir=tmp_path / "sqlite")
    small = await run_command("import", file, data_dir=tmp_path / "new", max_devices=1)
    missing = await run_command("import", str(tmp_path / "none"), data_dir=tmp_path / "new")
    nowhere = await run_command("import", file)
    nothing = await run_command("export", str(tmp_path / "out"))

    assert [each.status for each in (full, small, missing, nowhere, nothing)] == [2] * 5
    assert "is not empty: an import needs an empty store" in full.err
    assert "the export has 2 devices, but MAX_DEVICES is 1: raise it" in small.err
    assert f"there is no file {tmp_path / 'none'}" in missing.err
    assert "DATA_DIR or POSTGRES_URL is required" in nowhere.err
    assert "DATA_DIR or POSTGRES_URL is required" in nothing.err
    assert not (tmp_path / "out").exists()


async def test_an_import_that_did_not_finish_is_never_served(tmp_path: Path) -> None:
    lines = [line.encode() for line in await export_lines(tmp_path)]
    checked = ArchiveImporter()
    checked.begin()
    parsed = [parse_line(line, number) for number, line in enumerate(lines, 1)]
    for kind, line in parsed[1:-1]:
        checked.prepare(kind, [line])
    writer = ArchiveImporter(checked.totals)
    async with open_sqlite(tmp_path / "half") as store:
        epoch = await store.take_epoch()
        await store.commit(epoch, writer.begin())
        first = writer.prepare("device", [parsed[1][1]])
        assert isinstance(first, CommitWrites)
        await store.commit(epoch, first)

    again = await run_command("import", str(tmp_path / "good.jsonl"), data_dir=tmp_path / "half")
    served = await run_command("serve", data_dir=tmp_path / "half", grpc_addr="127.0.0.1:0")

    assert "is not empty: an import needs an empty store. How to empty one" in again.err
    assert served.status == 1
    assert "patterns: the last commit says 2, the rows say 1" in served.err


async def test_an_export_can_be_piped(tmp_path: Path) -> None:
    lines = await export_lines(tmp_path)

    piped = await run_command("export", "-", data_dir=tmp_path / "sqlite")

    assert piped.out.splitlines() == lines
    assert await asyncio.to_thread(Path(tmp_path / "-").exists) is False
