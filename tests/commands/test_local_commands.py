"""Commands on this machine's own store: what they print."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.v1.shard_pb2 import AddContentRequest
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from testing.ports import find_free_address
from tests.servers import make_content_message, run_shard_server, run_subprocess
from tests.terminal import run_on_terminal

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.fixture(scope="module")
def stored_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a shard that has ended, with one content."""
    folder, address = tmp_path_factory.mktemp("stored"), find_free_address()
    with run_shard_server(address, data_dir=folder), grpc.insecure_channel(address) as channel:
        shard: Any = ShardServiceStub(channel)
        shard.AddContent(AddContentRequest(contents=[make_content_message("film:1", "Solaris", 1)]))
    return folder


def test_check_tells_programs_what_it_tells_people(stored_data_dir: Path) -> None:
    told = run_subprocess("constellation", "check", data_dir=stored_data_dir)
    document = run_subprocess("constellation", "check", "--json", data_dir=stored_data_dir)

    assert (told.status, document.status) == (0, 0)
    assert told.out == "ok: 0 devices, 0 patterns, 0 in the index, commit 0\n"
    assert json.loads(document.out) == {
        "damaged": False,
        "problems": [],
        "devices": 0,
        "patterns": 0,
        "indexed": 0,
        "commit": 0,
    }


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


def test_an_export_to_standard_output_is_nothing_else(stored_data_dir: Path) -> None:
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
    assert "exported 1 contents" in terminal.text


def test_migrate_tells_programs_what_a_database_has_and_misses(postgres_url: str) -> None:
    done = run_subprocess("constellation", "migrate", "--json", postgres_url=postgres_url)
    planned = run_subprocess(
        "constellation", "migrate", "--dry-run", "--json", postgres_url=postgres_url
    )

    told = json.loads(done.out)
    assert told["applied_now"] == told["missing"] == []
    assert [each["version"] for each in told["applied"]] == list(range(1, len(told["applied"]) + 1))
    assert json.loads(planned.out) == told
