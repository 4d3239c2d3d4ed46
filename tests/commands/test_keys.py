from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jwt

from constellation.auth.keys import read_key_ring
from tests.auth.callers import make_verifier

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import CommandLine

DEVICE = "00112233445566778899aabbccddeeff"


def test_a_key_is_made_rotated_listed_and_revoked(
    unconfigured_cli: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    made = unconfigured_cli("keys", "new", str(file))
    (first,) = [key.key_id for key in read_key_ring(file).keys]
    rotated = unconfigured_cli("keys", "rotate", str(file))
    second, _ = [key.key_id for key in read_key_ring(file).keys]
    again = unconfigured_cli("keys", "rotate", str(file))
    third, _ = [key.key_id for key in read_key_ring(file).keys]
    listed = unconfigured_cli("keys", "list", str(file))
    as_json = unconfigured_cli.run_json("keys", "list", str(file))
    revoked = unconfigured_cli("keys", "revoke", str(file), second)

    assert made.out == f"{file}: key {first} signs\n"
    assert rotated.out == f"{file}: key {second} signs, key {first} verifies\n"
    assert again.out == (
        f"{file}: key {third} signs, key {second} verifies, key {first} is removed\n"
    )
    assert listed.out == f"{third}  HS256  signs and verifies\n{second}  HS256  verifies\n"
    assert [each["use"] for each in as_json["keys"]] == ["signs and verifies", "verifies"]
    assert revoked.out == f"{file}: key {second} is removed\n"
    assert [key.key_id for key in read_key_ring(file).keys] == [third]
    for key in read_key_ring(file).keys:
        shown = f"{made}{rotated}{again}{listed}{as_json}{revoked}"
        assert key.fields["k"] not in shown


def test_a_token_is_issued_for_roles_and_days(
    unconfigured_cli: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    unconfigured_cli("keys", "new", str(file))
    roles = ("--role", "operator", "--role", "viewer")

    issued = unconfigured_cli("keys", "issue", str(file), *roles, "--subject", "alice")

    token = issued.out.strip()
    caller = make_verifier(file).verify(token)
    assert (caller.subject, sorted(caller.roles)) == ("alice", ["operator", "viewer"])
    assert caller.expires_at is not None
    assert abs(caller.expires_at - time.time() - 30 * 86_400) < 60
    assert jwt.get_unverified_header(token)["kid"] == read_key_ring(file).keys[0].key_id


def test_mistakes_are_named(unconfigured_cli: CommandLine, tmp_path: Path) -> None:
    file = str(tmp_path / "keys.json")
    missing = unconfigured_cli("keys", "list", file)
    unconfigured_cli("keys", "new", file)
    (key,) = [key.key_id for key in read_key_ring(tmp_path / "keys.json").keys]
    finished = {
        "cannot read the keys": missing,
        "exists: give another name": unconfigured_cli("keys", "new", file),
        f"has no key nope: it has {key}": unconfigured_cli("keys", "revoke", file, "nope"),
        f"{key} is the only key": unconfigured_cli("keys", "revoke", file, key),
        "must be its id, 32 lower-case hex digits, got 'tv'": unconfigured_cli(
            "keys", "issue", file, "--role", "device", "--subject", "tv"
        ),
    }

    for problem, each in finished.items():
        assert (each.status, each.out) == (2, "")
        assert problem in each.err
        assert each.err.count("\n") == 1
