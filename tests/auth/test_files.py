"""Files are read again when they change, and a secret that others may use is refused by name."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from constellation.auth.authority import issue_certificate, make_authority
from constellation.auth.certificates import Certificates
from constellation.auth.files import ReloadedFiles, require_secret
from constellation.auth.key_file import KeyFile
from constellation.auth.keys import make_key_ring, write_key_ring
from constellation.auth.token_files import read_token_file
from constellation.errors import ConfigError
from tests.tls import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVICE = 10_001
"""A user that is not root."""


class NumberFile:
    """A file with a number, and how often it was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reads = 0
        path.write_text("1", encoding="ascii")

    def read(self) -> int:
        self.reads += 1
        try:
            return int(self.path.read_text(encoding="ascii"))
        except ValueError as error:
            raise ConfigError(f"{self.path} has no number") from error


@pytest.fixture
def file(tmp_path: Path) -> NumberFile:
    return NumberFile(tmp_path / "number")


def test_a_file_is_read_again_only_when_it_has_changed(file: NumberFile) -> None:
    files = ReloadedFiles([file.path], file.read, interval_seconds=0)
    assert [files.get(), files.get()] == [1, 1]
    assert file.reads == 1

    file.path.write_text("22", encoding="ascii")

    assert [files.get(), files.get()] == [22, 22]
    assert file.reads == 2


def test_a_wrong_file_is_read_once_and_leaves_the_value_before_it(file: NumberFile) -> None:
    files = ReloadedFiles([file.path], file.read, interval_seconds=0)

    file.path.write_text("none", encoding="ascii")

    assert [files.get(), files.get()] == [1, 1]
    assert file.reads == 2
    assert files.problem == f"{file.path} has no number"
    file.path.write_text("333", encoding="ascii")
    assert (files.get(), files.problem) == (333, "")


def test_a_wrong_file_that_becomes_right_in_the_same_place_is_read(file: NumberFile) -> None:
    """As when a file is copied piece by piece: each piece changes its size or its time."""
    files = ReloadedFiles([file.path], file.read, interval_seconds=0)
    for text in ("x", "xy", "7"):
        file.path.write_text(text, encoding="ascii")
        files.get()

    assert (files.get(), files.problem) == (7, "")


@pytest.mark.parametrize(
    ("owner", "mode"),
    [(SERVICE, 0o600), (SERVICE, 0o400), (0, 0o600), (0, 0o640), (0, 0o440)],
    ids=lambda value: f"{value:o}",
)
def test_a_secret_of_its_owner_or_of_roots_group_is_taken(
    tmp_path: Path, owner: int, mode: int
) -> None:
    path = make_secret(tmp_path, owner, mode)

    require_secret(path)


@pytest.mark.parametrize(
    ("owner", "mode"),
    [(SERVICE, 0o640), (SERVICE, 0o604), (SERVICE, 0o620), (0, 0o644), (0, 0o660), (0, 0o444)],
    ids=lambda value: f"{value:o}",
)
def test_a_secret_that_others_may_use_is_refused_with_the_fix(
    tmp_path: Path, owner: int, mode: int
) -> None:
    path = make_secret(tmp_path, owner, mode)

    with pytest.raises(ConfigError, match=rf"mode 0{mode:o} lets others.*`chmod 600 {path}`"):
        require_secret(path)


def make_secret(folder: Path, owner: int, mode: int) -> Path:
    path = folder / "secret"
    path.touch()
    path.chmod(mode)
    try:
        os.chown(path, owner, owner)
    except PermissionError:
        pytest.skip("only root can give a file to another user")
    return path


def test_a_secret_may_come_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o666)

    require_secret(tmp_path / "pipe")


def test_every_kind_of_secret_is_looked_at(tmp_path: Path) -> None:
    ring, token = tmp_path / "keys.json", tmp_path / "token"
    write_key_ring(ring, make_key_ring(), is_new=True)
    token.write_text("abc", encoding="ascii")
    server = make_certificate(tmp_path, "server")
    authority = tmp_path / "pki"
    make_authority(authority, "ours", 2)
    secrets: dict[Path, Callable[[], object]] = {
        ring: lambda: KeyFile(ring),
        token: lambda: read_token_file(token),
        server.key: lambda: Certificates(server.cert, server.key),
        authority / "ca.key": lambda: issue_certificate(authority, ["localhost"], "server", 1),
    }
    for path, use in secrets.items():
        path.chmod(0o644)
        with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
            use()
        path.chmod(0o600)
        use()


def test_public_keys_may_be_read_by_everybody(tmp_path: Path) -> None:
    path = tmp_path / "public.json"
    write_key_ring(path, make_key_ring("EdDSA").to_public(), is_new=True)
    path.chmod(0o644)

    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    KeyFile(path, must_be_public=True)
