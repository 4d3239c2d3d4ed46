from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from structlog.testing import capture_logs

from constellation.core.rows import TermKind
from constellation.core.store import CommitWrites, Totals
from constellation.errors import (
    ConfigError,
    DamagedStoreError,
    NotReadyError,
    StoreFailedError,
    StoreInUseError,
)
from constellation.federated.published import StoredGlobal
from constellation.storage.sqlite.store import SqlitePatternStore, open_sqlite
from tests.storage.samples import (
    make_commit,
    make_content,
    make_hourly_counts,
    read_patterns,
    to_slots,
)

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
FRAME = 24 + PAGE

OPEN_SCRIPT = """
import asyncio, sys
from pathlib import Path
from constellation.storage.sqlite.store import open_sqlite
async def main():
    async with open_sqlite(Path(sys.argv[1])):
        pass
asyncio.run(main())
"""
COMMIT_FOREVER = """
import asyncio, sys
from pathlib import Path
import numpy as np
from constellation.storage.sqlite.store import open_sqlite
from constellation.core.rows import PATTERN
from constellation.core.store import CommitWrites, Totals
def rows(lsn):
    rows = np.frombuffer(np.random.default_rng(lsn).bytes(40 * PATTERN.itemsize), PATTERN).copy()
    rows["reserved"] = 0
    return rows
async def main():
    async with open_sqlite(Path(sys.argv[1])) as store:
        epoch = await store.take_epoch()
        lsn = 0
        while True:
            lsn += 1
            slots = np.arange(lsn * 40, lsn * 40 + 40)
            await store.commit(epoch, CommitWrites(Totals(lsn), slots=slots, rows=rows(lsn)))
            print(lsn, flush=True)
asyncio.run(main())
"""

FIRST_SCHEMA = """
PRAGMA page_size = 4096;
PRAGMA journal_mode = WAL;
CREATE TABLE pattern (slot INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;
CREATE TABLE device (slot INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;
CREATE TABLE word (
  kind INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL,
  PRIMARY KEY (kind, number)) STRICT, WITHOUT ROWID;
CREATE TABLE hourly_count (
  hour INTEGER NOT NULL, content INTEGER NOT NULL, devices INTEGER NOT NULL,
  PRIMARY KEY (hour, content)) STRICT, WITHOUT ROWID;
CREATE TABLE content (
  content_id TEXT NOT NULL PRIMARY KEY COLLATE BINARY, title TEXT NOT NULL,
  content_type INTEGER NOT NULL, genres TEXT NOT NULL, year INTEGER NOT NULL,
  codes BLOB NOT NULL) STRICT;
CREATE TABLE change (lsn INTEGER PRIMARY KEY, slots BLOB NOT NULL) STRICT;
CREATE TABLE shard (
  schema_version INTEGER NOT NULL, epoch INTEGER NOT NULL, lsn INTEGER NOT NULL,
  patterns INTEGER NOT NULL, devices INTEGER NOT NULL,
  pattern_digest INTEGER NOT NULL, device_digest INTEGER NOT NULL,
  secret BLOB NOT NULL) STRICT;
INSERT INTO shard VALUES (1, 3, 1, 0, 0, 0, 0, zeroblob(32));
INSERT INTO change VALUES (1, x'');
INSERT INTO word VALUES (2, 1, 'film:1'), (2, 2, 'film:2');
INSERT INTO hourly_count VALUES (10, 1, 5), (10, 2, 6), (11, 1, 7);
"""


def make_first_schema(data_dir: Path) -> sqlite3.Connection:
    """Make the database that the first version of the program would leave."""
    data_dir.mkdir()
    connection = sqlite3.connect(data_dir / "shard.db", isolation_level=None)
    connection.executescript(FIRST_SCHEMA)
    return connection


async def make_crashed_copy(tmp_path: Path, commits: int) -> tuple[Path, list[int]]:
    """Return the files of a store that was never closed, and its log's length after each commit."""
    copy, lengths = tmp_path / "crashed", []
    async with open_sqlite(tmp_path / "data") as store:
        epoch = await store.take_epoch()
        for lsn in range(1, commits + 1):
            await store.commit(epoch, make_commit(lsn, np.arange(lsn * 10, lsn * 10 + 10)))
            log = (tmp_path / "data" / "shard.db-wal").read_bytes()
            lengths.append(len(log))
        shutil.copytree(tmp_path / "data", copy)
    return copy, lengths


async def read_lsn(data_dir: Path) -> int:
    async with open_sqlite(data_dir) as store:
        totals = await store.read_totals()
        assert len(await read_patterns(store)) == totals.lsn * 10
        return totals.lsn


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "new" / "data") as store:
        secret, epoch = await store.read_secret(), await store.take_epoch()
        await store.commit(epoch, make_commit(1, to_slots(3, 1)))
        await store.put_contents(epoch, [make_content("a")], [])
        await store.put_global(epoch, StoredGlobal(5, 6, b"global"))
        before = await read_patterns(store)

    async with open_sqlite(tmp_path / "new" / "data") as store:
        assert await store.get_global() == StoredGlobal(5, 6, b"global")
        assert await read_patterns(store) == before
        assert await store.get_content("a") == make_content("a")
        assert await store.read_secret() == secret
        assert await store.read_totals() == Totals(1)
        assert await store.take_epoch() == epoch + 1
        assert await store.verify() == []
        assert await store.read_size_bytes() > PAGE


async def test_a_directory_is_opened_once(sqlite_store: SqlitePatternStore, tmp_path: Path) -> None:
    await sqlite_store.probe()

    with pytest.raises(StoreInUseError, match=f"{tmp_path}/data is in use by process"):
        async with open_sqlite(tmp_path / "data"):
            pass
    command = [sys.executable, "-c", OPEN_SCRIPT, str(tmp_path / "data")]
    second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)

    assert second.returncode == 1
    assert "StoreInUseError" in second.stderr


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="file/data cannot be written"):
        async with open_sqlite(tmp_path / "file" / "data"):
            pass


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


@pytest.mark.parametrize("at", [0, 16, 18, 19, 21])
async def test_a_damaged_database_header_refuses_to_start(tmp_path: Path, at: int) -> None:
    source, _ = await make_crashed_copy(tmp_path, 1)
    with (source / "shard.db").open("r+b") as file:
        file.seek(at)
        file.write(b"\xee")

    with pytest.raises(DamagedStoreError, match=r"shard\.db is damaged"):
        await read_lsn(source)


async def test_what_was_acked_survives_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMMIT_FOREVER, str(tmp_path / "data")]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    acked = 0
    while acked < 120:  # beyond two checkpoints
        acked = int(await process.stdout.readline())
    process.kill()
    rest = (await process.stdout.read()).decode().splitlines(keepends=True)
    acked = max([acked, *(int(line) for line in rest if line.endswith("\n"))])
    await process.wait()

    async with open_sqlite(tmp_path / "data") as store:
        found = await read_patterns(store)
        lsn = (await store.read_totals()).lsn

    assert lsn >= acked
    assert list(found) == list(range(40, lsn * 40 + 40))
    for at in range(1, lsn + 1):
        rows = make_commit(at, np.arange(40)).rows
        assert [found[at * 40 + row] for row in range(40)] == [row.tobytes() for row in rows]


async def test_a_full_disk_refuses_writes_until_there_is_space(
    sqlite_store: SqlitePatternStore,
) -> None:
    epoch = await sqlite_store.take_epoch()
    await sqlite_store._read(
        lambda connection: connection.execute("PRAGMA max_page_count = 20").fetchall()
    )

    with pytest.raises(NotReadyError, match="disk full"):
        await sqlite_store.commit(epoch, make_commit(1, np.arange(1000)))
    assert await read_patterns(sqlite_store) == {}
    await sqlite_store._read(
        lambda connection: connection.execute("PRAGMA max_page_count = 9999").fetchall()
    )
    await sqlite_store.probe()
    await sqlite_store.commit(epoch, make_commit(1, np.arange(1000)))

    assert len(await read_patterns(sqlite_store)) == 1000


async def test_a_disk_with_room_for_a_page_alone_is_still_full(
    sqlite_store: SqlitePatternStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await sqlite_store.take_epoch()
    await sqlite_store._read(
        lambda connection: connection.execute("PRAGMA max_page_count = 20").fetchall()
    )
    with pytest.raises(NotReadyError, match="disk full"):
        await sqlite_store.commit(epoch, make_commit(1, np.arange(1000)))

    with monkeypatch.context() as patched:
        usage = type("Usage", (), {"free": 8192})
        patched.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(NotReadyError, match=r"8192 bytes are free .* 4194304 are needed"):
            await sqlite_store.probe()

    await sqlite_store.probe()


async def test_no_write_is_tried_after_one_failed(sqlite_store: SqlitePatternStore) -> None:
    def fail(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode, error.sqlite_errorname = 1034, "SQLITE_IOERR_FSYNC"
        raise error

    epoch = await sqlite_store.take_epoch()
    with pytest.raises(StoreFailedError, match="SQLITE_IOERR_FSYNC"):
        await sqlite_store._write(fail)

    with pytest.raises(StoreFailedError, match=r"shard\.db: disk I/O error"):
        await sqlite_store.commit(epoch, make_commit(1, to_slots(1)))
    with pytest.raises(StoreFailedError):
        await sqlite_store.probe()


async def test_a_database_of_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    make_first_schema(tmp_path / "data").close()

    for _ in range(2):  # the second time there is nothing left to do
        async with open_sqlite(tmp_path / "data") as store:
            counts = await store.read_hourly_counts()
            assert counts.hours.tolist() == [10, 10, 11]
            assert counts.kinds.tolist() == [TermKind.CONTENT] * 3
            assert counts.numbers.tolist() == [1, 2, 1]
            assert counts.devices.tolist() == [5, 6, 7]
            assert [word.text for word in await store.read_terms()] == ["film:1", "film:2"]
            assert await store.read_totals() == Totals(1)
            assert await store.get_global() is None
            assert await store.verify() == []
    async with open_sqlite(tmp_path / "data") as store:
        assert await store.take_epoch() == 4
        await store.commit(
            4, CommitWrites(Totals(2), counts=make_hourly_counts((11, TermKind.GENRE, 1, 2)))
        )
        assert sorted((await store.read_hourly_counts()).devices.tolist()) == [2, 5, 6, 7]


async def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    connection = make_first_schema(tmp_path / "data")
    connection.execute("CREATE TABLE global (something INTEGER)")
    connection.close()

    with pytest.raises(StoreFailedError, match="global already exists"):
        async with open_sqlite(tmp_path / "data"):
            pass

    connection = sqlite3.connect(tmp_path / "data" / "shard.db")
    assert connection.execute("SELECT content FROM hourly_count").fetchall() == [(1,), (2,), (1,)]
    assert connection.execute("SELECT schema_version FROM shard").fetchall() == [(1,)]
    connection.close()


async def test_a_database_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    connection = make_first_schema(tmp_path / "data")
    connection.execute("UPDATE shard SET schema_version = 77")
    connection.close()

    with pytest.raises(ConfigError, match="has schema version 77, but this program supports"):
        async with open_sqlite(tmp_path / "data"):
            pass


async def test_a_global_moves_into_the_database_at_once(
    sqlite_store: SqlitePatternStore, tmp_path: Path
) -> None:
    epoch = await sqlite_store.take_epoch()
    for round_id in range(6):
        await sqlite_store.put_global(epoch, StoredGlobal(1, round_id, bytes(9 * 2**20)))

    log = tmp_path / "data" / "shard.db-wal"
    assert (await sqlite_store.get_global() or StoredGlobal(0, 0, b"")).round_id == 5
    assert log.stat().st_size < 2 * 10 * 2**20
