from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.scenarios.processes import run_command
from tests.servers import run_subprocess

if TYPE_CHECKING:
    from pathlib import Path


def test_check_prints_the_same_as_text_and_as_json(stored_data_dir: Path) -> None:
    finished = run_subprocess("constellation", "check", data_dir=stored_data_dir)
    finished_json = run_subprocess("constellation", "check", "--json", data_dir=stored_data_dir)

    assert (finished.status, finished_json.status) == (0, 0)
    assert finished.out == "ok: 0 devices, 0 patterns, 0 in the index, commit 0\n"
    assert json.loads(finished_json.out) == {
        "damaged": False,
        "problems": [],
        "devices": 0,
        "patterns": 0,
        "indexed": 0,
        "commit": 0,
    }


async def test_check_asks_for_a_data_directory() -> None:
    finished = await run_command("check")

    assert finished.status == 2
    assert "DATA_DIR or POSTGRES_URL is required" in finished.err


async def test_check_creates_nothing_where_there_is_no_shard(tmp_path: Path) -> None:
    finished = await run_command("check", data_dir=tmp_path)

    assert finished.status == 2
    assert f"DATA_DIR: there is no shard in {tmp_path}" in finished.err
    assert list_names(tmp_path) == []


def list_names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]
