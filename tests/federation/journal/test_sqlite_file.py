from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from constellation.errors import NotReadyError, StoreFailedError
from constellation.storage.data_dir import lock_directory
from federation.journal.sqlite_file import JournalFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Iterator[JournalFile]:
    file = JournalFile(tmp_path)
    file.open()
    yield file
    file.close()


def add_aggregate(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO round_aggregate (shard_id, payload) VALUES (7, x'00')")


def count_aggregates(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM round_aggregate").fetchone()
    return int(count)


def test_nothing_works_before_the_file_is_open(tmp_path: Path) -> None:
    file = JournalFile(tmp_path)

    with pytest.raises(NotReadyError, match="not the active one yet"):
        file.read(count_aggregates)


def test_opening_an_open_file_changes_nothing(file: JournalFile) -> None:
    file.write(add_aggregate)

    file.open()

    assert file.read(count_aggregates) == 1


def test_work_that_fails_is_undone(file: JournalFile) -> None:
    def add_twice(connection: sqlite3.Connection) -> None:
        add_aggregate(connection)
        add_aggregate(connection)

    with pytest.raises(sqlite3.IntegrityError):
        file.write(add_twice)

    assert file.read(count_aggregates) == 0


def test_after_a_failed_write_nothing_is_trusted(file: JournalFile) -> None:
    def fail(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
        raise error

    with pytest.raises(StoreFailedError, match="SQLITE_IOERR"):
        file.write(fail)

    with pytest.raises(StoreFailedError, match="check the disk, then restart"):
        file.write(add_aggregate)
    with pytest.raises(StoreFailedError, match="check the disk, then restart"):
        file.read(count_aggregates)


@pytest.mark.parametrize("name", ["federation.db", "federation.db-wal", "LOCK"])
def test_a_write_to_a_file_that_was_removed_is_not_reported_as_saved(
    file: JournalFile, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).unlink()

    with pytest.raises(StoreFailedError, match=f"{name} was removed or replaced"):
        file.write(add_aggregate)

    with pytest.raises(StoreFailedError, match=f"{name} was removed or replaced"):
        file.read(count_aggregates)


def test_a_closed_file_leaves_its_directory_to_others(tmp_path: Path) -> None:
    file = JournalFile(tmp_path)
    file.open()

    file.close()

    with lock_directory(tmp_path):
        pass
