from __future__ import annotations

import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from constellation.errors import DamagedStoreError
from constellation.storage.sqlite.wal import WalReport, check_wal
from tests.storage.sqlite.crashed_store import make_crashed_copy, read_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE_BYTES = 512
FRAME_BYTES = 24 + PAGE_BYTES


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database with a write-ahead log that moves nothing by itself; it has one table."""
    connection = sqlite3.connect(tmp_path / "some.db", isolation_level=None)
    connection.executescript(
        f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL;"
        "PRAGMA wal_autocheckpoint = 0; CREATE TABLE row (value BLOB);"
        "PRAGMA wal_checkpoint(TRUNCATE);"
    )
    yield connection
    connection.close()


def commit_rows(connection: sqlite3.Connection, commits: int) -> None:
    for _ in range(commits):
        connection.execute("INSERT INTO row VALUES (zeroblob(100))")


def read_log(tmp_path: Path) -> bytes:
    return (tmp_path / "some.db-wal").read_bytes()


def check_bytes(tmp_path: Path, log: bytes) -> WalReport:
    (tmp_path / "copy-wal").write_bytes(log)
    return check_wal(tmp_path / "copy-wal", PAGE_BYTES, "restore a backup")


def test_a_log_that_is_missing_or_empty_holds_nothing(tmp_path: Path) -> None:
    assert check_wal(tmp_path / "none-wal", PAGE_BYTES, "") == WalReport(0, 0, 0)
    assert check_bytes(tmp_path, b"") == WalReport(0, 0, 0)


def test_every_commit_of_a_sound_log_is_counted(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    commit_rows(database, 7)

    assert check_bytes(tmp_path, read_log(tmp_path)) == WalReport(7, 0, 0)


def test_frames_of_an_earlier_use_of_the_file_are_not_dropped_ones(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    commit_rows(database, 5)
    length = len(read_log(tmp_path))
    database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    commit_rows(database, 1)

    assert len(read_log(tmp_path)) == length
    assert check_bytes(tmp_path, read_log(tmp_path)) == WalReport(1, 0, 0)


def test_a_frame_cut_short_is_counted_in_bytes_and_logged(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    commit_rows(database, 3)

    with capture_logs() as logs:
        report = check_bytes(tmp_path, read_log(tmp_path)[:-10])

    assert report == WalReport(2, 0, FRAME_BYTES - 10)
    assert [(line["event"], line["bytes"]) for line in logs] == [
        ("wal_tail_dropped", FRAME_BYTES - 10)
    ]


def test_a_damaged_last_commit_is_dropped_as_a_crash_may_cut_it_short(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    commit_rows(database, 3)
    log = bytearray(read_log(tmp_path))
    log[-1] ^= 1

    assert check_bytes(tmp_path, bytes(log)) == WalReport(2, 1, FRAME_BYTES)


@pytest.mark.parametrize(("at", "where"), [(32 + 24, "frame 1, byte 32"), (20, "the header")])
def test_damage_before_later_commits_is_refused_with_its_place_and_the_remedy(
    tmp_path: Path, database: sqlite3.Connection, at: int, where: str
) -> None:
    commit_rows(database, 4)
    log = bytearray(read_log(tmp_path))
    log[at] ^= 1

    with pytest.raises(DamagedStoreError, match=rf"damaged at {where}.* would be lost; restore a"):
        check_bytes(tmp_path, bytes(log))


async def test_a_torn_tail_loses_only_the_last_commit(tmp_path: Path) -> None:
    source, lengths = await make_crashed_copy(tmp_path, 4)
    log = (source / "shard.db-wal").read_bytes()
    cuts = {*range(lengths[2], lengths[3], 997), lengths[2] + 1, lengths[3] - 1}

    for cut in sorted(cuts):
        (torn := tmp_path / f"cut-{cut}").mkdir()
        shutil.copy(source / "shard.db", torn)
        (torn / "shard.db-wal").write_bytes(log[:cut])
        with capture_logs() as logs:
            assert await read_lsn(torn) == 3
        assert [line["event"] for line in logs] == ["wal_tail_dropped"] * (cut > lengths[2])


async def test_a_bit_flipped_mid_log_refuses_to_start(tmp_path: Path) -> None:
    source, lengths = await make_crashed_copy(tmp_path, 4)
    log = (source / "shard.db-wal").read_bytes()

    for at in range(5, lengths[1], 1231):
        damaged = bytearray(log)
        damaged[at] ^= 4
        (source / "shard.db-wal").write_bytes(damaged)
        with pytest.raises(DamagedStoreError, match=r"shard\.db-wal is damaged at"):
            await read_lsn(source)
    (source / "shard.db-wal").write_bytes(log)
    assert await read_lsn(source) == 4
