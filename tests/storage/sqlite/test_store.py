from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.store import Totals
from constellation.errors import (
    NotReadyError,
    StoreFailedError,
    StoreInUseError,
)
from constellation.federated.published import StoredGlobal
from constellation.storage.sqlite.store import SqlitePatternStore, open_sqlite
from tests.storage.samples import (
    make_commit,
    make_content,
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


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "new" / "data") as store:
        secret, epoch = await store.read_secret(), await store.take_epoch()
        await store.commit(epoch, make_commit(1, to_slots(3, 1)))
        await store.put_contents(epoch, [make_content("a")], [], 0)
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


@pytest.mark.parametrize("name", ["shard.db", "shard.db-wal", "LOCK"])
async def test_a_commit_to_a_file_that_was_removed_or_replaced_is_not_acked(
    sqlite_store: SqlitePatternStore, tmp_path: Path, name: str
) -> None:
    epoch = await sqlite_store.take_epoch()
    path = tmp_path / "data" / name
    copy = tmp_path / "copy"
    shutil.copyfile(path, copy)
    copy.rename(path)

    with pytest.raises(StoreFailedError, match=f"data/{name} was removed or replaced"):
        await sqlite_store.commit(epoch, make_commit(1, to_slots(1)))

    with pytest.raises(StoreFailedError, match=f"data/{name} was removed or replaced"):
        await sqlite_store.read_totals()


async def test_a_probe_notices_a_removed_directory_though_nobody_writes(
    sqlite_store: SqlitePatternStore, tmp_path: Path
) -> None:
    await sqlite_store.probe()

    shutil.rmtree(tmp_path / "data")

    with pytest.raises(StoreFailedError, match=r"shard\.db was removed or replaced"):
        await sqlite_store.probe()


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


async def test_a_global_moves_into_the_database_at_once(
    sqlite_store: SqlitePatternStore, tmp_path: Path
) -> None:
    epoch = await sqlite_store.take_epoch()
    for round_id in range(6):
        await sqlite_store.put_global(epoch, StoredGlobal(1, round_id, bytes(9 * 2**20)))

    log = tmp_path / "data" / "shard.db-wal"
    assert (await sqlite_store.get_global() or StoredGlobal(0, 0, b"")).round_id == 5
    assert log.stat().st_size < 2 * 10 * 2**20
