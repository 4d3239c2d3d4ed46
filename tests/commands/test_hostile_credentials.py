"""Hostile files of keys, tokens and lists, and hostile texts beside them: one line says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation_settop.__main__ import main as settop
from tests.deltas import device_id

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import CommandLine

NESTED = b"[" * 100_000
ENDLESS_BYTES = 1 << 42
HALF_CHARACTERS = b"\xff\xfe".decode("utf-8", "surrogateescape")
DEVICE = device_id(1).hex()


@pytest.fixture
def vendor_keys(unconfigured_cli: CommandLine, tmp_path: Path) -> str:
    file = tmp_path / "vendor-keys.json"
    assert unconfigured_cli("keys", "new", str(file), "--algorithm", "EdDSA").status == 0
    return str(file)


@pytest.fixture(params=["nested", "endless", "binary"])
def hostile_file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a file that is nested too deeply, has no bounds, or is no text."""
    path = tmp_path / request.param
    path.write_bytes({"nested": NESTED, "binary": bytes(range(256))}.get(request.param, b""))
    path.chmod(0o600)
    if request.param == "endless":
        with path.open("r+b") as file:
            file.truncate(ENDLESS_BYTES)  # takes no place on the disk
    return str(path)


@pytest.fixture(autouse=True)
def _inside_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relative names be in the folder of the test."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ("keys", "list", "FILE"),
        ("keys", "public", "FILE"),
        ("keys", "rotate", "FILE"),
        ("keys", "issue", "FILE", "--role", "viewer", "--subject", "x"),
        ("enrol-device", "FILE", "--key", "device.key"),
        ("revoke-device", "FILE", DEVICE),
        ("status", "--token-file", "FILE"),
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_a_hostile_file_is_named(
    unconfigured_cli: CommandLine, command: tuple[str, ...], hostile_file: str
) -> None:
    finished = unconfigured_cli(*(hostile_file if each == "FILE" else each for each in command))

    assert finished.status in {1, 2}
    assert hostile_file in finished.err
    assert len(finished.err.splitlines()) == 1


@pytest.mark.parametrize("flag", ["--vendor-keys", "--global-keys", "--token-file", "--ca"])
def test_a_hostile_file_of_a_simulated_fleet_is_named(
    capsys: pytest.CaptureFixture[str], flag: str, hostile_file: str
) -> None:
    status = settop(["simulate", "--address", "127.0.0.1:1", flag, hostile_file])

    assert status in {1, 2}
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_name_that_is_too_long_is_named(unconfigured_cli: CommandLine) -> None:
    name = "x" * 300

    finished = unconfigured_cli("keys", "new", name)

    assert (finished.status, finished.err) == (
        2,
        f"constellation: cannot write {name}: File name too long\n",
    )


@pytest.mark.parametrize(
    "command",
    [
        ("enrol-device", "VENDOR", "--key", "k", "--lot", HALF_CHARACTERS),
        ("enrol-device", "VENDOR", "--key", "k", "--model", HALF_CHARACTERS),
        ("keys", "issue", "VENDOR", "--role", "viewer", "--subject", HALF_CHARACTERS),
        ("ca", "new", "pki", "--name", HALF_CHARACTERS),
        ("ca", "issue", "pki", HALF_CHARACTERS),
        ("revoke-device", "list", DEVICE, "--reason", HALF_CHARACTERS),
        ("quarantine-device", DEVICE, "--reason", HALF_CHARACTERS),
        ("search", "--content", HALF_CHARACTERS),
        ("search", "--text", HALF_CHARACTERS),
        ("content", "get", HALF_CHARACTERS),
        ("status", "--server-name", HALF_CHARACTERS),
    ],
    ids=lambda command: "-".join((command[0], command[-2])),
)
def test_an_argument_that_is_no_text_is_refused(
    unconfigured_cli: CommandLine, vendor_keys: str, command: tuple[str, ...]
) -> None:
    finished = unconfigured_cli(*(vendor_keys if each == "VENDOR" else each for each in command))

    assert finished.status == 2
    assert "must be text in UTF-8, got '\\udcff\\udcfe'" in finished.err.splitlines()[-1]


def test_what_a_list_is_replaced_for_never_replaces_a_device(unconfigured_cli: CommandLine) -> None:
    finished = unconfigured_cli("revoke-device", "/dev/null", DEVICE)

    assert (finished.status, finished.err) == (
        2,
        "constellation: cannot write /dev/null: is not a regular file\n",
    )


@pytest.mark.parametrize("name", ["", "münchen.example", "a b", "x" * 64 + ".example", "x." * 130])
def test_what_is_no_host_name_gets_no_certificate(
    unconfigured_cli: CommandLine, tmp_path: Path, name: str
) -> None:
    pki = str(tmp_path / "pki")
    assert unconfigured_cli("ca", "new", pki).status == 0

    finished = unconfigured_cli("ca", "issue", pki, name)

    assert finished.status == 2
    assert f"{name[:80]!r} is no host name or IP address" in finished.err
    assert len(finished.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_the_name_of_an_authority_has_a_length(
    unconfigured_cli: CommandLine, tmp_path: Path, name: str
) -> None:
    finished = unconfigured_cli("ca", "new", str(tmp_path / "pki"), "--name", name)

    assert finished.status == 2
    assert f"the name of an authority has 1 to 64 characters, got {len(name)}" in finished.err


def test_an_empty_content_id_is_no_text_to_search_for(
    unconfigured_cli: CommandLine, empty_shard: str
) -> None:
    finished = unconfigured_cli("search", "--content", "", "--address", empty_shard)

    assert finished.status == 1
    assert len(finished.err.splitlines()) == 1
