from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from constellation.archive.importer import ArchiveImporter
from constellation.archive.lines import HEADER_LINE, parse_line
from constellation.commands.import_ import import_archive
from constellation.config import ShardConfig
from constellation.core.store import CommitWrites
from constellation.core.store_identity import StoreIdentity
from constellation.errors import InvalidInputError
from constellation.storage.sqlite.store import open_sqlite
from tests.commands.archives import (
    A_CONTENT,
    A_COUNT,
    FILM,
    ID_ONLY,
    break_pattern,
    export,
    export_lines,
    fill_shard,
    make_store_settings,
)
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.scenarios.processes import run_command
from tests.servers import run_subprocess
from tests.transport.inbox_client import push_delta

if TYPE_CHECKING:
    from pathlib import Path


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
    exported = await export(first, **make_store_settings(source, tmp_path, postgres_url))

    imported = await run_command(
        "import", str(first), **make_store_settings(target, tmp_path, postgres_url)
    )
    checked = await run_command("check", **make_store_settings(target, tmp_path, postgres_url))
    await export(second, **make_store_settings(target, tmp_path, postgres_url))

    assert exported.err == "exported 1 content item, 40 devices, 160 patterns, 5 hourly counts\n"
    assert imported.err.endswith(
        "imported 1 content item, 40 devices, 160 patterns, 5 hourly counts\n"
    )
    assert (checked.status, checked.out[:29]) == (0, "ok: 40 devices, 160 patterns,")
    assert second.read_bytes() == first.read_bytes()
    if source == "postgres":
        assert (tmp_path / "live.jsonl").read_bytes() == first.read_bytes()
    async with run_shard(**make_store_settings(target, tmp_path, postgres_url)) as shard:
        assert shard.manager.catalogue.count == 1
        assert await shard.manager.catalogue.get("film:1") == FILM
        again = await push_delta(shard.manager, 7, 3, [PatternSpec(9)])
        assert again.through_seq == 3  # devices go on where they were


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
    again = (tmp_path / "again.jsonl").read_text().splitlines()
    assert json.loads(again[0]) == {**HEADER_LINE, "dimension": 384, "shard_id": 0}
    assert again[1:] == file.read_text().splitlines()[1:]


async def test_another_shard_imports_an_export_and_gets_a_region_of_its_own(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path / "south", shard_id=1, region="south") as shard:
        await fill_shard(shard)
    file = tmp_path / "south.jsonl"
    await export(file, data_dir=tmp_path / "south", shard_id=1)

    imported = await run_command("import", str(file), data_dir=tmp_path / "north")

    assert imported.status == 0, imported.err
    async with run_shard(data_dir=tmp_path / "north", region="north") as shard:
        assert await shard.manager.store.read_identity() == StoreIdentity(0, "north", 384)


async def test_a_damaged_export_changes_nothing(tmp_path: Path) -> None:
    head, first, second, end = await export_lines(tmp_path)
    cases = {
        "is truncated": [head, first, second],
        "but its end line says": [head, first, end],
        "line 1 must be": [first, second, end],
        "line 2 is not a JSON object": [head, first[:-9], second, end],
        "twice or out of order": [head, second, first, end],
        "line 2 is wrong: a success_rate must be from 0 to 1, got 1.5": [
            head,
            break_pattern(first, success_rate=1.5),
            second,
            end,
        ],
        "line 2 is wrong: an embedding must have 384 codes": [
            head,
            break_pattern(first, embedding="AAAA"),
            second,
            end,
        ],
        "line 2 is wrong: an id must be 32 lower-case hex digits": [
            head,
            break_pattern(first, pattern_id="00"),
            second,
            end,
        ],
        "line 2 is wrong: a number must be from 1 to 1000000000, got -1": [
            head,
            break_pattern(first, sample_count=-1),
            second,
            end,
        ],
        "line 2 is wrong: a value must be a list, got 'noir'": [
            head,
            break_pattern(first, genres="noir"),
            second,
            end,
        ],
        "line 2 is wrong: must not hold NUL": [
            head,
            break_pattern(first, genres=["a\0"]),
            second,
            end,
        ],
        "line 2 is wrong: a list must have at most 8 terms, got 9": [
            head,
            break_pattern(first, genres=list("abcdefghi")),
            second,
            end,
        ],
        "line 2 lacks the field 'patterns'": [
            head,
            '{"device": {}}'.replace("{}", ID_ONLY),
            second,
            end,
        ],
        "line 2 is wrong: a number must be from 1 to 4, got 0": [head, A_CONTENT, first, end],
        "line 3 has the unknown kind 'surprise'": [head, first, '{"surprise": {}}', end],
        "line 3 has count drama twice or out of order": [head, A_COUNT, A_COUNT, end],
        "has lines after its end line": [head, first, second, end, first],
    }

    for message, lines in cases.items():
        (tmp_path / "bad.jsonl").write_text("\n".join(lines) + "\n")
        config = ShardConfig(data_dir=tmp_path / "new")

        with pytest.raises(InvalidInputError, match=re.escape(message)):
            await import_archive(config, tmp_path / "bad.jsonl")

        assert not (tmp_path / "new").exists()
    finished = await run_command("import", str(tmp_path / "bad.jsonl"), data_dir=tmp_path / "new")
    assert (finished.status, "has lines after its end line" in finished.err) == (1, True)


async def test_an_import_needs_an_empty_store_and_enough_room(tmp_path: Path) -> None:
    await export_lines(tmp_path)
    file = str(tmp_path / "good.jsonl")

    full = await run_command("import", file, data_dir=tmp_path / "sqlite")
    small = await run_command("import", file, data_dir=tmp_path / "new", max_devices=1)
    missing = await run_command("import", str(tmp_path / "none"), data_dir=tmp_path / "new")
    nowhere = await run_command("import", file)
    nothing = await run_command("export", str(tmp_path / "out"))

    assert [each.status for each in (full, small, missing, nowhere, nothing)] == [2] * 5
    assert "is not empty: an import requires an empty store" in full.err
    assert "the export has 2 devices, but MAX_DEVICES is 1: increase it" in small.err
    assert f"cannot read {tmp_path / 'none'}: No such file or directory" in missing.err
    assert "DATA_DIR or POSTGRES_URL is required" in nowhere.err
    assert "DATA_DIR or POSTGRES_URL is required" in nothing.err
    assert not (tmp_path / "out").exists()


async def test_a_refused_import_claims_no_store(tmp_path: Path) -> None:
    await export_lines(tmp_path)
    unclaimed = StoreIdentity(None, None, None)
    async with open_sqlite(tmp_path / "sqlite") as store:  # as an earlier version left it
        await store.write_identity(unclaimed)

    refused = await run_command(
        "import", str(tmp_path / "good.jsonl"), data_dir=tmp_path / "sqlite", shard_id=9
    )

    assert "is not empty" in refused.err
    async with open_sqlite(tmp_path / "sqlite") as store:
        assert await store.read_identity() == unclaimed


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

    assert "is not empty: an import requires an empty store. docs/operations.md" in again.err
    assert served.status == 1
    assert "patterns: the last commit says 2, the rows say 1" in served.err


def test_an_export_and_its_import_count_what_they_wrote(
    stored_data_dir: Path, tmp_path: Path
) -> None:
    file = str(tmp_path / "shard.jsonl")
    exported = run_subprocess("constellation", "export", file, "--json", data_dir=stored_data_dir)
    imported = run_subprocess(
        "constellation", "import", file, "--json", data_dir=tmp_path / "other"
    )

    counts = {"contents": 1, "devices": 0, "patterns": 0, "counts": 0}
    assert json.loads(exported.out) == {"file": file, **counts}
    assert json.loads(imported.out) == {"file": file, **counts}
    assert exported.err == ""  # neither a bar nor a log
