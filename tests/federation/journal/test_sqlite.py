"""What a SQLite journal keeps when its process dies, and what it refuses."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from constellation.errors import (
    ConfigError,
    DamagedStoreError,
    NotReadyError,
    StoreFailedError,
)
from federation.journal.open import open_journal
from federation.journal.sqlite import open_sqlite_journal
from tests.federation.journal.samples import (
    has_outcome,
    make_outcome,
    make_published_round,
    make_publishing_round,
    make_pulling_round,
    run_round,
)

if TYPE_CHECKING:
    from pathlib import Path

SETTLE_FOREVER = """
import asyncio, sys
from pathlib import Path
from federation.journal.open import open_journal
from tests.federation.journal.samples import (
    make_outcome, make_publishing_round, make_pulling_round)
async def main():
    async with open_journal(Path(sys.argv[1]), None) as journal:
        await journal.become_active()
        newest = await journal.read_newest()
        round_id = newest.round_id + 1 if newest else 1
        while True:
            await journal.begin_round(make_pulling_round(round_id))
            made = make_outcome(round_id, *range(20), size_bytes=50_000)
            await journal.save_result(make_publishing_round(round_id), made)
            print(round_id, flush=True)
            round_id += 1
asyncio.run(main())
"""
WAL_FILE = "federation.db-wal"


async def test_a_torn_settle_is_whole_or_nothing(tmp_path: Path) -> None:
    """Every length that the log can have had when the power failed."""
    log = tmp_path / "data" / WAL_FILE
    async with open_journal(tmp_path / "data", None) as journal:
        await journal.become_active()
        await run_round(journal, 1, 7, 8)
        await journal.begin_round(make_pulling_round(2))
        before = log.stat().st_size
        await journal.save_result(make_publishing_round(2), make_outcome(2, 7, 8, size_bytes=9000))
        after = log.stat().st_size
        shutil.copytree(tmp_path / "data", tmp_path / "crashed")
    step = (after - before) // 20 | 1

    found = []
    for length in [*range(before, after, step), after]:
        copy = tmp_path / f"copy{length}"
        shutil.copytree(tmp_path / "crashed", copy)
        with (copy / WAL_FILE).open("r+b") as file:
            file.truncate(length)
        async with open_journal(copy, None) as journal:
            await journal.become_active()
            settled = await has_outcome(journal, make_outcome(2, 7, 8, size_bytes=9000))
            assert settled or await has_outcome(journal, make_outcome(1, 7, 8))
            assert await journal.read_newest() == (
                make_publishing_round(2) if settled else make_pulling_round(2)
            )
            found.append(settled)

    assert found[-1]
    assert not any(found[:-1])


def kill_after_settling(data_dir: Path, rounds: int) -> int:
    """Kill a process that settles rounds after so many; return the last that it said it settled."""
    command = [sys.executable, "-c", SETTLE_FOREVER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = [process.stdout.readline() for _ in range(rounds)]
        process.kill()
        output += [line for line in process.stdout if line.endswith("\n")]
    return int(output[-1])


async def test_a_killed_process_keeps_what_it_said_it_settled(tmp_path: Path) -> None:
    for rounds in (1, 4, 9):
        told = await asyncio.to_thread(kill_after_settling, tmp_path, rounds)

        async with open_journal(tmp_path, None) as journal:
            await journal.become_active()
            settled, _ = await journal.read_result() or (0, b"")
            assert settled >= told
            assert await has_outcome(journal, make_outcome(settled, *range(20), size_bytes=50_000))
            newest = await journal.read_newest()
            assert newest in {make_publishing_round(settled), make_pulling_round(settled + 1)}


async def test_a_large_outcome_does_not_stay_in_the_log(tmp_path: Path) -> None:
    async with open_journal(tmp_path, None) as journal:
        await journal.become_active()
        await journal.begin_round(make_pulling_round(1))
        made = make_outcome(1, *range(30), size_bytes=2**20)

        await journal.save_result(make_publishing_round(1), made)
        await journal.close_round(make_published_round(1))

        assert (tmp_path / WAL_FILE).stat().st_size < 2**20
        assert await has_outcome(journal, made)


async def test_lost_commits_are_noticed(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "data", None) as journal:
        await journal.become_active()
        for round_id in range(1, 5):
            await run_round(journal, round_id, 7)
        shutil.copytree(tmp_path / "data", tmp_path / "crashed")
    with (tmp_path / "crashed" / WAL_FILE).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 50)

    async with open_journal(tmp_path / "crashed", None) as journal:
        with pytest.raises(DamagedStoreError, match=r"commits would be lost; .* a new journal"):
            await journal.become_active()


async def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    async with open_journal(tmp_path, None) as journal:
        await journal.become_active()
    with closing(sqlite3.connect(tmp_path / "federation.db")) as connection, connection:
        connection.execute("UPDATE federation SET schema_version = 9")

    async with open_journal(tmp_path, None) as journal:
        with pytest.raises(ConfigError, match=r"schema version 9, this program knows 1"):
            await journal.become_active()


async def test_a_full_disk_changes_nothing_and_may_be_emptied(tmp_path: Path) -> None:
    async with open_sqlite_journal(tmp_path, ("PRAGMA max_page_count = 40",)) as journal:
        await journal.become_active()
        await run_round(journal, 1, 7)
        await journal.begin_round(make_pulling_round(2))

        with pytest.raises(NotReadyError, match="disk full"):
            await journal.save_result(
                make_publishing_round(2), make_outcome(2, 7, 8, size_bytes=2**20)
            )

        assert await journal.read_newest() == make_pulling_round(2)
        assert await has_outcome(journal, make_outcome(1, 7))
        await journal.save_result(make_publishing_round(2), make_outcome(2, 7))
        assert await has_outcome(journal, make_outcome(2, 7))


async def test_after_a_failed_write_nothing_is_trusted(tmp_path: Path) -> None:
    async with open_journal(tmp_path, None) as journal:
        await journal.become_active()

        def fail(_: sqlite3.Connection) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
            raise error

        file = journal._file  # type: ignore[attr-defined]  # this kind has one
        with pytest.raises(StoreFailedError, match="SQLITE_IOERR"):
            await journal._run_in_writer(lambda: file.write(fail))  # type: ignore[attr-defined]  # likewise

        with pytest.raises(StoreFailedError, match="check the disk, then restart"):
            await journal.begin_round(make_pulling_round(1))
