"""Standard output on a full disk: one line says so, and the status is 1, in every command."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from constellation.auth.authority import make_authority
from constellation.auth.keys import make_key_ring, write_key_ring
from testing.ports import find_free_address
from tests.command_line import needs_model
from tests.commands.archives import export_lines
from tests.commands.catalogues import make_film_line, write_catalogue
from tests.commands.test_docs import COMMANDS
from tests.scenarios.processes import COMMAND_DIR
from tests.servers import DEADLINE_SECONDS, make_clean_environment, run_shard_server

if TYPE_CHECKING:
    from tests.servers import RunningFleet

SERVING = {"constellation serve", "federation run"}
"""They print nothing on standard output."""
REMOTE = {
    "constellation status": "",
    "constellation top": "--interval 0.05",
    "constellation devices": "",
    "constellation patterns": "",
    "constellation content list": "",
    "constellation content get": "film:1",
    "constellation search": "--content film:1",
    "constellation trends": "",
    "constellation clusters": "",
    "constellation plot patterns": "{folder}/map.html",
    "constellation plot trends": "{folder}/trends.html",
    "constellation log-level": "",
    "federation status": "",
    "federation rounds": "",
    "federation round": "",
    "federation privacy": "",
    "federation log-level": "",
}
LOCAL = {
    "constellation check": "",
    "constellation export": "-",
    "constellation config": "",
    "constellation completion": "bash",
    "federation config": "",
    "federation completion": "zsh",
}
SECURITY = {
    "constellation keys new": "{folder}/other",
    "constellation keys rotate": "{folder}/keys",
    "constellation keys list": "{folder}/keys",
    "constellation keys public": "{folder}/vendor",
    "constellation keys revoke": "{folder}/keys {key}",
    "constellation keys issue": "{folder}/keys --role viewer --subject alice",
    "constellation enrol-device": "{folder}/vendor --key {folder}/device.key --new-key",
    "constellation revoke-device": "{folder}/revoked.txt " + "0" * 32,
    "constellation ca new": "{folder}",
    "constellation ca issue": "{folder} localhost",
}
SPECIAL = {
    "constellation content add",
    "constellation content embed",
    "constellation delete-device",
    "constellation quarantine-device",
    "constellation drain",
    "constellation import",
    "constellation migrate",
}
"""Those that have a test of their own below."""


def run_into_full_disk(*command: str, **settings: object) -> tuple[int, str]:
    """Run a command whose standard output is full; return its status and what it says."""
    chosen = {name.upper(): str(value) for name, value in settings.items()}
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(
            [COMMAND_DIR / command[0], *command[1:]],
            env={**make_clean_environment(), **chosen},
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
    return finished.returncode, finished.stderr


def expect_one_line(found: tuple[int, str], program: str = "constellation") -> None:
    problem = "cannot write to standard output: No space left on device"
    assert found == (1, f"{program}: {problem}\n")


def test_every_command_is_tried() -> None:
    assert set(REMOTE) | set(LOCAL) | set(SECURITY) | SPECIAL | SERVING == set(COMMANDS)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *((name, "text") for name in REMOTE),
        ("constellation top", "json"),
        ("federation status", "json"),
    ],
)
def test_a_full_disk_under_a_listing_is_one_line(
    fleet: RunningFleet, tmp_path: Path, name: str, layout: str
) -> None:
    if "plot" in name:
        pytest.importorskip("altair", reason="needs the extra plot")
    arguments = REMOTE[name].format(folder=tmp_path).split()
    if layout == "json":
        arguments += ["--json", *(["--count", "1"] if name.endswith(" top") else [])]
    program = name.split(maxsplit=1)[0]
    addresses = {
        "constellation": fleet.shard_addresses[0],
        "federation": fleet.federation_address,
    }

    expect_one_line(
        run_into_full_disk(*name.split(), *arguments, grpc_addr=addresses[program]), program
    )


@pytest.mark.parametrize("name", LOCAL)
def test_a_full_disk_under_a_command_of_this_machine_is_one_line(
    stored_data_dir: Path, name: str
) -> None:
    arguments = [*name.split(), *LOCAL[name].split()]

    settings = {"data_dir": stored_data_dir, "shard_addrs": "127.0.0.1:1"}
    expect_one_line(run_into_full_disk(*arguments, **settings), name.split(maxsplit=1)[0])


@pytest.mark.parametrize("name", SECURITY)
def test_a_full_disk_under_a_command_for_keys_is_one_line(tmp_path: Path, name: str) -> None:
    if name != "constellation ca new":
        make_authority(tmp_path, "Test", 1)
    ring = make_key_ring().add_new()
    write_key_ring(tmp_path / "keys", ring, is_new=True)
    write_key_ring(tmp_path / "vendor", make_key_ring("EdDSA"), is_new=True)
    arguments = SECURITY[name].format(folder=tmp_path, key=ring.keys[0].key_id)

    expect_one_line(run_into_full_disk(*name.split(), *arguments.split()))


@pytest.mark.parametrize("name", ["constellation", "federation", *COMMANDS])
def test_a_full_disk_under_help_is_one_line(name: str) -> None:
    expect_one_line(run_into_full_disk(*name.split(), "--help"), name.split(maxsplit=1)[0])


@pytest.mark.parametrize("program", ["constellation", "federation"])
def test_a_full_disk_under_the_version_is_one_line(program: str) -> None:
    expect_one_line(run_into_full_disk(program, "--version"), program)


def test_a_full_disk_under_an_added_catalogue_is_one_line(tmp_path: Path) -> None:
    file, address = write_catalogue(tmp_path, make_film_line(1)), find_free_address()

    with run_shard_server(address):
        finished = run_into_full_disk("constellation", "content", "add", file, grpc_addr=address)

    expect_one_line(finished)


@needs_model
@pytest.mark.parametrize("arguments", [("-",), ("{folder}/out.jsonl", "--json")])
def test_a_full_disk_under_embeddings_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    file = write_catalogue(
        tmp_path, {"content_id": "film:1", "content_type": "movie", "title": "Ran"}
    )
    chosen = [each.format(folder=tmp_path) for each in arguments]

    expect_one_line(run_into_full_disk("constellation", "content", "embed", file, *chosen))


def test_a_full_disk_under_a_drain_is_one_line() -> None:
    address = find_free_address()
    with run_shard_server(address):
        expect_one_line(run_into_full_disk("constellation", "drain", "--yes", grpc_addr=address))


async def test_a_full_disk_under_an_import_is_one_line(tmp_path: Path) -> None:
    await export_lines(tmp_path)
    file = str(tmp_path / "good.jsonl")

    expect_one_line(
        run_into_full_disk("constellation", "import", file, "--json", data_dir=tmp_path / "new")
    )


@pytest.mark.parametrize("mode", [(), ("--status",), ("--dry-run",), ("--json",)])
def test_a_full_disk_under_migrations_is_one_line(postgres_url: str, mode: tuple[str, ...]) -> None:
    expect_one_line(
        run_into_full_disk("constellation", "migrate", *mode, postgres_url=postgres_url)
    )
