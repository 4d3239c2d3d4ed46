from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from constellation.errors import ConfigError, StoreInUseError
from constellation.storage.data_dir import generate_owner, lock_directory, read_or_create_owner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def test_a_missing_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    with lock_directory(tmp_path / "new" / "data"):
        assert (tmp_path / "new" / "data").is_dir()


def test_a_locked_directory_is_refused_with_the_process_that_has_it(tmp_path: Path) -> None:
    with (
        lock_directory(tmp_path),
        pytest.raises(StoreInUseError, match=f"is in use by process {os.getpid()}: stop it"),
        lock_directory(tmp_path),
    ):
        pass


def test_a_lock_is_given_up_after_the_block_even_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), lock_directory(tmp_path):
        raise ValueError("no")

    with lock_directory(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(ConfigError, match="file/data cannot be written"),
        lock_directory(tmp_path / "file" / "data"),
    ):
        pass


def test_the_owner_of_a_directory_stays_the_same(tmp_path: Path) -> None:
    owner = read_or_create_owner(tmp_path)

    assert read_or_create_owner(tmp_path) == owner
    assert owner.startswith(f"{socket.gethostname()}/")


@pytest.mark.parametrize("copied", ["elsewhere/0123456789abcdef", "", "no host"])
def test_a_directory_copied_from_another_machine_gets_an_owner_of_its_own(
    tmp_path: Path, copied: str
) -> None:
    (tmp_path / "OWNER").write_text(f"{copied}\n")

    owner = read_or_create_owner(tmp_path)

    assert owner != copied
    assert read_or_create_owner(tmp_path) == owner


def test_two_owners_are_never_the_same() -> None:
    assert generate_owner() != generate_owner()


def test_a_database_that_everybody_may_read_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "shard.db").touch()
    (tmp_path / "shard.db").chmod(0o644)
    tmp_path.chmod(0o755)

    with capture_logs() as logs, lock_directory(tmp_path):
        pass

    assert logs[0]["event"] == "data_readable"
    assert f"chmod -R go= {tmp_path}" in logs[0]["problem"]
    assert list_warnings_with_modes(tmp_path, 0o700, 0o644) == []
    assert list_warnings_with_modes(tmp_path, 0o755, 0o600) == []


def list_warnings_with_modes(folder: Path, folder_mode: int, file_mode: int) -> Sequence[object]:
    folder.chmod(folder_mode)
    (folder / "shard.db").chmod(file_mode)
    with capture_logs() as logs, lock_directory(folder):
        pass
    return logs
