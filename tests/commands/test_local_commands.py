"""Commands on this machine's own store: what they print."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.v1.shard_pb2 import AddContentRequest
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.commands.servers import content, run_apart, serving_shard
from tests.commands.terminal import on_terminal
from tests.scenarios.sdk_devices import free_address

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a shard that has ended, with one content."""
    folder, address = tmp_path_factory.mktemp("stored"), free_address()
    with serving_shard(address, data_dir=folder), grpc.insecure_channel(address) as channel:
        shard: Any = ShardServiceStub(channel)
        shard.AddContent(AddContentRequest(contents=[content("film:1", "Solaris", 1)]))
    return folder


def test_check_tells_programs_what_it_tells_people(stored: Path) -> None:
    told = run_apart("constellation", "check", data_dir=stored)
    document = run_apart("constellation", "check", "--json", data_dir=stored)

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


def test_an_export_and_its_import_count_what_they_wrote(stored: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "shard.jsonl")
    exported = run_apart("constellation", "export", file, "--json", data_dir=stored)
    imported = run_apart("constellation", "import", file, "--json", data_dir=tmp_path / "other")

    counts = {"contents": 1, "devices": 0, "patterns": 0, "counts": 0}
    assert json.loads(exported.out) == {"file": file, **counts}
    assert json.loads(imported.out) == {"file": file, **counts}
    assert exported.err == ""  # neither a bar nor a log


def test_an_export_to_standard_output_is_nothing_else(stored: Path) -> None:
    whole = run_apart("constellation", "export", "-", data_dir=stored)
    refused = run_apart("constellation", "export", "-", "--json", data_dir=stored)

    assert [list(json.loads(line)) for line in whole.out.splitlines()][-2:] == [
        ["content"],
        ["end"],
    ]
    assert refused.status == 2
    assert refused.out == ""
    assert 'FILE "-" would both write to standard output' in refused.err


def test_an_export_shows_its_progress_on_a_terminal(stored: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "shard.jsonl")

    with on_terminal("constellation", "export", file, DATA_DIR=str(stored)) as terminal:
        assert terminal.end() == 0

    assert "Exporting" in terminal.text
    assert "100%" in terminal.text
    assert "exported 1 contents" in terminal.text


def test_migrate_tells_programs_what_a_database_has_and_misses(postgres_url: str) -> None:
    done = run_apart("constellation", "migrate", "--json", postgres_url=postgres_url)
    planned = run_apart(
        "constellation", "migrate", "--dry-run", "--json", postgres_url=postgres_url
    )

    told = json.loads(done.out)
    assert told["applied_now"] == told["missing"] == []
    assert [each["version"] for each in told["applied"]] == list(range(1, len(told["applied"]) + 1))
    assert json.loads(planned.out) == told
