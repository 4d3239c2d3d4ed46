"""Keys are read again when their file changes, and a wrong file changes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from constellation.auth.key_file import KeyFile
from constellation.auth.keys import make_key_ring, write_key_ring
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """A monotonic clock that tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        monkeypatch.setattr("constellation.auth.files.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "keys.json"
    write_key_ring(made, make_key_ring(), is_new=True)
    return made


def test_a_file_that_is_replaced_is_read_within_two_seconds(path: Path, clock: Clock) -> None:
    keys = KeyFile(path)
    rotated = keys.read().add_new()

    write_key_ring(path, rotated, is_new=False)
    clock.now += 2

    assert keys.read().keys == rotated.keys


def test_a_wrong_file_leaves_the_present_keys_in_use(path: Path, clock: Clock) -> None:
    keys = KeyFile(path)
    before = keys.read()

    path.write_text("{", encoding="utf-8")
    clock.now += 2

    assert keys.read() is before
    assert "is no key ring" in keys.reload_problem


def test_a_file_that_was_away_for_a_moment_leaves_no_problem(path: Path, clock: Clock) -> None:
    keys = KeyFile(path)
    away = path.with_name("away")
    problems = []
    for move_from, move_to in ((path, away), (away, path)):
        move_from.rename(move_to)
        clock.now += 2
        keys.read()
        problems.append(keys.reload_problem)

    assert "No such file" in problems[0]
    assert problems[1] == ""


def test_a_start_without_keys_fails(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`constellation keys new` makes such a file"):
        KeyFile(tmp_path / "keys.json")


@pytest.mark.parametrize("algorithm", ["HS256", "EdDSA"])
def test_a_key_that_signs_is_refused_where_only_public_ones_belong(
    tmp_path: Path, algorithm: str
) -> None:
    path = tmp_path / "private.json"
    write_key_ring(path, make_key_ring(algorithm), is_new=True)

    with pytest.raises(ConfigError, match="write them with `constellation keys public`"):
        KeyFile(path, must_be_public=True)
