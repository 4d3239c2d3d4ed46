from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from constellation.errors import StoreFailedError
from constellation.storage.file_guard import FileGuard

if TYPE_CHECKING:
    from pathlib import Path


def test_files_that_only_change_are_intact(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    guard = FileGuard([path])

    path.write_text("more")

    guard.require_intact()


def test_a_removed_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data" / "a"
    path.parent.mkdir()
    path.touch()
    guard = FileGuard([path])

    shutil.rmtree(path.parent)

    with pytest.raises(StoreFailedError, match=r"data/a was removed or replaced while it was open"):
        guard.require_intact()


def test_a_replaced_file_is_named(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.touch()
    other.touch()
    guard = FileGuard([path])

    other.rename(path)

    with pytest.raises(StoreFailedError, match="was removed or replaced"):
        guard.require_intact()
