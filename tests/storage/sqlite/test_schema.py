from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.rows import DEVICE, TermKind, digest_rows
from constellation.core.store import CommitWrites, Term, Totals
from constellation.errors import ConfigError, DamagedStoreError, StoreFailedError
from constellation.federated.published import StoredGlobal
from constellation.storage.sqlite.schema import SCHEMA_VERSION
from constellation.storage.sqlite.store import open_sqlite
from tests.storage.samples import make_device_rows, make_hourly_counts, read_devices

if TYPE_CHECKING:
    from pathlib import Path

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
SECOND_SCHEMA = """
DROP TABLE hourly_count;
CREATE TABLE hourly_count (
  hour INTEGER NOT NULL, kind INTEGER NOT NULL, number INTEGER NOT NULL,
  devices INTEGER NOT NULL, PRIMARY KEY (hour, kind, number)) STRICT, WITHOUT ROWID;
CREATE TABLE global (
  only INTEGER PRIMARY KEY CHECK (only = 1), generation INTEGER NOT NULL,
  round_id INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
INSERT INTO hourly_count VALUES (10, 1, 1, 5), (10, 2, 2, 6);
INSERT INTO global VALUES (1, 5, 6, x'07');
UPDATE shard SET schema_version = 2;
"""
"""What the second version changed in FIRST_SCHEMA."""


def make_first_schema(data_dir: Path) -> sqlite3.Connection:
    """Make the database that the first version of the program would leave."""
    data_dir.mkdir()
    connection = sqlite3.connect(data_dir / "shard.db", isolation_level=None)
    connection.executescript(FIRST_SCHEMA)
    return connection


async def test_a_database_of_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    make_first_schema(tmp_path / "data").close()

    for _ in range(2):  # the second time there is nothing left to do
        async with open_sqlite(tmp_path / "data") as store:
            counts = await store.read_hourly_counts()
            assert counts.hours.tolist() == [10, 10, 11]
            assert counts.kinds.tolist() == [TermKind.CONTENT] * 3
            assert counts.numbers.tolist() == [1, 2, 1]
            assert counts.devices.tolist() == [5, 6, 7]
            assert [term.text for term in await store.read_terms()] == ["film:1", "film:2"]
            assert await store.read_totals() == Totals(1, count_digest=None)
            assert await store.get_global() is None
            assert await store.verify() == []
    async with open_sqlite(tmp_path / "data") as store:
        assert await store.take_epoch() == 4
        await store.commit(
            4, CommitWrites(Totals(2), counts=make_hourly_counts((11, TermKind.GENRE, 1, 2)))
        )
        assert sorted((await store.read_hourly_counts()).devices.tolist()) == [2, 5, 6, 7]


async def test_a_database_of_the_second_schema_keeps_its_terms_counts_and_global(
    tmp_path: Path,
) -> None:
    connection = make_first_schema(tmp_path / "data")
    connection.executescript(SECOND_SCHEMA)
    connection.close()

    async with open_sqlite(tmp_path / "data") as store:
        first, second = Term(TermKind.CONTENT, 1, "film:1"), Term(TermKind.CONTENT, 2, "film:2")
        assert list(await store.read_terms()) == [first, second]
        counts = await store.read_hourly_counts()
        assert (counts.kinds.tolist(), counts.devices.tolist()) == ([1, 2], [5, 6])
        assert await store.get_global() == StoredGlobal(5, 6, b"\x07")


async def test_devices_of_the_first_schema_get_rows_that_count_at_once(tmp_path: Path) -> None:
    row = make_device_rows(1).tobytes()[:55] + b"\0"
    connection = make_first_schema(tmp_path / "data")
    connection.execute("INSERT INTO device VALUES (3, ?)", (row,))
    connection.close()

    async with open_sqlite(tmp_path / "data") as store:
        assert await read_devices(store) == {3: row + bytes(32)}
    rows = np.frombuffer(row + bytes(32), DEVICE)
    assert digest_rows(np.array([3]), rows) == digest_rows(
        np.array([3]), np.frombuffer(row, "V56").copy()
    )


async def test_a_new_database_has_the_same_tables_as_an_upgraded_one(tmp_path: Path) -> None:
    make_first_schema(tmp_path / "old").close()

    tables = []
    for name in ("old", "new"):
        async with open_sqlite(tmp_path / name):
            pass
        connection = sqlite3.connect(tmp_path / name / "shard.db")
        columns = connection.execute(
            "SELECT t.name, c.name, c.type, c.pk FROM sqlite_schema t, pragma_table_info(t.name) c"
            " ORDER BY t.name, c.cid"
        ).fetchall()
        tables.append((columns, connection.execute("SELECT schema_version FROM shard").fetchone()))
        connection.close()

    assert tables[0] == tables[1]
    assert tables[0][1] == (SCHEMA_VERSION,)


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


async def test_a_database_without_its_totals_is_damaged(tmp_path: Path) -> None:
    connection = make_first_schema(tmp_path / "data")
    connection.execute("DELETE FROM shard")
    connection.close()

    with pytest.raises(DamagedStoreError, match="it has 0 rows of totals instead of one"):
        async with open_sqlite(tmp_path / "data"):
            pass
