from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.scenarios.processes import (
    run_command,
    run_shard_process,
    start_shard_process,
    wait_for_event,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("command", ["serve", "check"])
async def test_a_data_directory_under_a_file_is_a_usage_error(tmp_path: Path, command: str) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")

    finished = await run_command(command, data_dir=file / "shard", grpc_addr="127.0.0.1:0")

    assert finished.status == 2
    assert "DATA_DIR" in finished.err
    assert str(file / "shard") in finished.err
    assert "Traceback" not in finished.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_data_directory_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    unwritable = make_unwritable(tmp_path)

    finished = await run_command("serve", data_dir=unwritable / "shard", grpc_addr="127.0.0.1:0")

    assert finished.status == 2
    assert "cannot be written (Permission denied)" in finished.err


async def test_missing_parents_of_the_data_directory_are_made(tmp_path: Path) -> None:
    async with run_shard_process(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / "shard.db").is_file()


@pytest.mark.parametrize("setting", ["grpc_addr", "rest_addr", "metrics_addr"])
async def test_nothing_is_created_while_a_port_is_taken(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        settings = {"grpc_addr": "127.0.0.1:0", setting: address}
        finished = await run_command("serve", data_dir=tmp_path / "a" / "b", **settings)

    assert finished.status == 2
    assert f"{setting.upper()}: cannot listen on {address}" in finished.err
    assert "Traceback" not in finished.err
    assert not (tmp_path / "a").exists()


async def test_a_shard_without_a_store_warns_that_all_is_lost_at_the_end() -> None:
    process = await start_shard_process()
    try:
        warned = await wait_for_event(process, "store_in_memory")
    finally:
        process.kill()
        await process.communicate()

    assert warned["level"] == "warning"
    assert "set DATA_DIR or POSTGRES_URL to keep them" in warned["problem"]


def make_unwritable(directory: Path) -> Path:
    directory.chmod(0o500)
    return directory
