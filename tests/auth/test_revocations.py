"""Revoked devices: those of a file, which may change, and those of the global state."""

from __future__ import annotations

import resource
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from constellation.auth.revocations import (
    MAX_REVOKED,
    RevokedDevices,
    append_revoked,
    read_revoked_file,
)
from constellation.errors import ConfigError
from tests.deltas import device_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def limited_file_size(limit_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a disk without room does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_and_the_global_state_both_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr("constellation.auth.files.time.monotonic", lambda: clock[0])
    path = tmp_path / "revoked.txt"
    append_revoked(path, device_id(1), "stolen")
    revoked = RevokedDevices(path)

    revoked.replace_global([device_id(2)])

    assert device_id(1) in revoked
    assert device_id(2) in revoked
    assert revoked.ids == {device_id(1), device_id(2)}
    append_revoked(path, device_id(3), "")
    revoked.replace_global([])
    clock[0] += 2
    assert device_id(3) in revoked
    assert device_id(2) not in revoked


def test_a_line_may_say_why(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"

    assert append_revoked(path, device_id(1), "stolen in Lyon")
    assert not append_revoked(path, device_id(1), "again")

    assert path.read_text(encoding="utf-8") == f"{device_id(1).hex()}  # stolen in Lyon\n"
    path.write_text("# a note\n\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert read_revoked_file(path) == {device_id(1)}


def test_a_last_line_without_its_end_stays_a_line(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    path.write_text(device_id(1).hex(), encoding="utf-8")  # as an editor may leave it

    append_revoked(path, device_id(2), "")

    assert read_revoked_file(path) == {device_id(1), device_id(2)}


def test_a_full_disk_leaves_the_list_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    append_revoked(path, device_id(1), "stolen")

    with limited_file_size(len(path.read_bytes()) + 5), pytest.raises(ConfigError, match="write"):
        append_revoked(path, device_id(2), "")

    assert read_revoked_file(path) == {device_id(1)}
    assert [each.name for each in tmp_path.iterdir()] == ["revoked.txt"]


def test_the_list_keeps_the_mode_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    path.touch(mode=0o600)
    path.chmod(0o640)

    append_revoked(path, device_id(1), "")

    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_does_not_exist_yet_has_none(tmp_path: Path) -> None:
    assert device_id(1) not in RevokedDevices(tmp_path / "revoked.txt")


def test_a_wrong_line_is_named_and_later_leaves_the_present_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr("constellation.auth.files.time.monotonic", lambda: clock[0])
    path = tmp_path / "revoked.txt"
    append_revoked(path, device_id(1), "")
    revoked = RevokedDevices(path)

    path.write_text(f"{device_id(1).hex()}\nyesterday's\n", encoding="utf-8")
    clock[0] += 2

    assert device_id(1) in revoked
    assert 'line 2: "yesterday\'s" is no device id of 32 hex digits' in revoked.reload_problem
    with pytest.raises(ConfigError, match="line 2"):
        RevokedDevices(path)


def test_a_list_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    lines = (device_id(number).hex() for number in range(MAX_REVOKED + 1))
    path.write_text("\n".join(lines), encoding="utf-8")

    with pytest.raises(ConfigError, match="revoke the key of their vendor instead"):
        read_revoked_file(path)


def test_a_file_that_was_wrong_for_a_moment_leaves_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr("constellation.auth.files.time.monotonic", lambda: clock[0])
    path, away, wrong = tmp_path / "revoked.txt", tmp_path / "away", tmp_path / "wrong"
    append_revoked(path, device_id(1), "")
    wrong.write_text("no device id", encoding="utf-8")
    revoked = RevokedDevices(path)
    problems = []
    for moves in (((path, away), (wrong, path)), ((path, wrong), (away, path))):
        for move_from, move_to in moves:
            move_from.rename(move_to)
        clock[0] += 2
        assert device_id(1) in revoked
        problems.append(revoked.reload_problem)

    assert "is no device id" in problems[0]
    assert problems[1] == ""
