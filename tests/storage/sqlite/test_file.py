from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from constellation.errors import (
    ConstellationError,
    DamagedStoreError,
    NotReadyError,
    StoreFailedError,
    StoreInUseError,
)
from constellation.histogram import Histogram
from constellation.storage.sqlite.file import SqliteFile, get_error_code, open_transaction
from tests.storage.sqlite.crashed_store import make_crashed_copy, read_lsn

if TYPE_CHECKING:
    from pathlib import Path

PAGE_BYTES = 4096


def make_file(tmp_path: Path) -> SqliteFile:
    return SqliteFile(tmp_path / "some.db", PAGE_BYTES, "restore it from a backup")


def create_table(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS row (value INTEGER)")


def make_error(code: int | None) -> sqlite3.DatabaseError:
    error = sqlite3.OperationalError("as SQLite says")
    if code is not None:
        error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_SOMETHING"
    return error


def test_what_was_committed_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    connection = make_file(tmp_path).connect(create_table)
    connection.execute("INSERT INTO row VALUES (7)")
    connection.close()

    again = make_file(tmp_path).connect(create_table)

    assert again.execute("SELECT value FROM row").fetchall() == [(7,)]
    again.close()


def test_a_schema_that_cannot_be_prepared_leaves_nothing(tmp_path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        create_table(connection)
        raise StoreFailedError("no")

    with pytest.raises(StoreFailedError, match="no"):
        make_file(tmp_path).connect(fail)

    connection = sqlite3.connect(tmp_path / "some.db")
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    connection.close()


def test_commits_are_flushed_to_the_disk_and_the_log_is_not_moved_by_itself(tmp_path: Path) -> None:
    connection = make_file(tmp_path).connect(create_table)

    pragmas = ("journal_mode", "synchronous", "wal_autocheckpoint", "locking_mode")
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]

    assert found == ["wal", 2, 0, "exclusive"]
    connection.close()


def test_a_file_that_another_program_has_open_is_refused(tmp_path: Path) -> None:
    connection = make_file(tmp_path).connect(create_table)

    with pytest.raises(StoreInUseError, match=r"some\.db is open in another program: end that"):
        make_file(tmp_path).connect(create_table)

    connection.close()


def test_a_file_that_is_no_database_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "some.db").write_bytes(b"something else".ljust(100))

    with pytest.raises(DamagedStoreError, match=r"its header is wrong.*: restore it from a backup"):
        make_file(tmp_path).connect(create_table)


def test_an_empty_file_beside_a_log_with_commits_is_refused(tmp_path: Path) -> None:
    connection = make_file(tmp_path).connect(create_table)
    connection.execute("INSERT INTO row VALUES (1)")
    log = (tmp_path / "some.db-wal").read_bytes()
    connection.close()
    (tmp_path / "some.db").write_bytes(b"")
    (tmp_path / "some.db-wal").write_bytes(log)

    with pytest.raises(DamagedStoreError, match="it is empty, but its write-ahead log holds"):
        make_file(tmp_path).connect(create_table)


@pytest.mark.parametrize(
    ("code", "expected", "message"),
    [
        (sqlite3.SQLITE_CORRUPT, DamagedStoreError, "is damaged"),
        (sqlite3.SQLITE_NOTADB, DamagedStoreError, "is damaged"),
        (None, DamagedStoreError, "is damaged"),  # the sqlite3 module found a value of a wrong type
        (sqlite3.SQLITE_BUSY, StoreInUseError, "open in another program"),
        (sqlite3.SQLITE_LOCKED, StoreInUseError, "open in another program"),
        (sqlite3.SQLITE_FULL, NotReadyError, "disk full"),
        (sqlite3.SQLITE_IOERR | 4 << 8, StoreFailedError, "SQLITE_SOMETHING"),
    ],
)
def test_an_error_of_sqlite_becomes_one_that_says_what_to_do(
    tmp_path: Path, code: int | None, expected: type[ConstellationError], message: str
) -> None:
    error = make_file(tmp_path).translate_error(make_error(code))

    assert type(error) is expected
    assert message in str(error)
    assert "some.db" in str(error)


def test_the_detail_of_an_error_code_does_not_count() -> None:
    assert get_error_code(make_error(sqlite3.SQLITE_IOERR | 4 << 8)) == sqlite3.SQLITE_IOERR
    assert get_error_code(make_error(None)) is None


def insert_and_fail(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO row VALUES (2)")
    connection.execute("INSERT INTO missing VALUES (2)")


def test_a_transaction_is_undone_by_an_error_and_its_commit_is_timed() -> None:
    connection, seconds = sqlite3.connect(":memory:", isolation_level=None), Histogram()
    create_table(connection)

    with open_transaction(connection, seconds):
        connection.execute("INSERT INTO row VALUES (1)")
    with (
        pytest.raises(sqlite3.OperationalError, match="no such table: missing"),
        open_transaction(connection, seconds),
    ):
        insert_and_fail(connection)

    assert connection.execute("SELECT value FROM row").fetchall() == [(1,)]
    assert seconds.cumulative()[-1] == 1
    connection.close()


@pytest.mark.parametrize("at", [0, 16, 18, 19, 21])
async def test_a_damaged_database_header_refuses_to_start(tmp_path: Path, at: int) -> None:
    source, _ = await make_crashed_copy(tmp_path, 1)
    with (source / "shard.db").open("r+b") as file:
        file.seek(at)
        file.write(b"\xee")

    with pytest.raises(DamagedStoreError, match=r"shard\.db is damaged"):
        await read_lsn(source)
