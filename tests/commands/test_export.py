from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.commands.archives import export, export_lines, fill_shard
from tests.conftest import run_shard
from tests.scenarios.processes import run_command
from tests.servers import run_subprocess
from tests.terminal import run_on_terminal


async def test_an_export_is_readable(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path / "sqlite") as shard:
        await fill_shard(shard)

    await export(tmp_path / "out.jsonl", data_dir=tmp_path / "sqlite")

    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "format": "constellation",
        "version": 1,
        "dimension": 384,
        "shard_id": 0,
        "region": "default",
    }
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


async def test_an_export_can_be_piped(tmp_path: Path) -> None:
    lines = await export_lines(tmp_path)

    piped = await run_command("export", "-", data_dir=tmp_path / "sqlite")

    assert piped.out.splitlines() == lines
    assert await asyncio.to_thread(Path(tmp_path / "-").exists) is False


def test_an_export_to_standard_output_prints_nothing_else(stored_data_dir: Path) -> None:
    whole = run_subprocess("constellation", "export", "-", data_dir=stored_data_dir)
    refused = run_subprocess("constellation", "export", "-", "--json", data_dir=stored_data_dir)

    assert [list(json.loads(line)) for line in whole.out.splitlines()][-2:] == [
        ["content"],
        ["end"],
    ]
    assert refused.status == 2
    assert refused.out == ""
    assert 'FILE "-" would both write to standard output' in refused.err


def test_an_export_shows_its_progress_on_a_terminal(stored_data_dir: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "shard.jsonl")

    with run_on_terminal(
        "constellation", "export", file, DATA_DIR=str(stored_data_dir)
    ) as terminal:
        assert terminal.read_to_exit() == 0

    assert "Exporting" in terminal.text
    assert "100%" in terminal.text
    assert "exported 1 content item" in terminal.text
