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

SAVE_FOREVER = """
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


async def test_a_torn_save_is_complete_or_did_not_happen(tmp_path: Path) -> None:
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
            saved = await has_outcome(journal, make_outcome(2, 7, 8, size_bytes=9000))
            assert saved or await has_outcome(journal, make_outcome(1, 7, 8))
            assert await journal.read_newest() == (
                make_publishing_round(2) if saved else make_pulling_round(2)
            )
            found.append(saved)

    assert found[-1]
    assert not any(found[:-1])


def kill_after_saving(data_dir: Path, rounds: int) -> int:
    """Kill a process after it reported that many rounds as saved; return the last one reported."""
    command = [sys.executable, "-c", SAVE_FOREVER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = [process.stdout.readline() for _ in range(rounds)]
        process.kill()
        output += [line for line in process.stdout if line.endswith("\n")]
    return int(output[-1])


async def test_a_killed_process_keeps_what_it_reported_as_saved(tmp_path: Path) -> None:
    for rounds in (1, 4, 9):
        saved_at_least = await asyncio.to_thread(kill_after_saving, tmp_path, rounds)

        async with open_journal(tmp_path, None) as journal:
            await journal.become_active()
            saved, _ = await journal.read_result() or (0, b"")
            assert saved >= saved_at_least
            assert await has_outcome(journal, make_outcome(saved, *range(20), size_bytes=50_000))
            newest = await journal.read_newest()
            assert newest in {make_publishing_round(saved), make_pulling_round(saved + 1)}


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
        with pytest.raises(ConfigError, match=r"schema version 9, this program knows 2"):
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


async def test_a_journal_of_the_first_version_gets_a_ledger(tmp_path: Path) -> None:
    async with open_journal(tmp_path, None) as journal:
        await journal.become_active()
        await run_round(journal, 1, 7)
    with closing(sqlite3.connect(tmp_path / "federation.db")) as connection, connection:
        connection.execute("DROP TABLE privacy_ledger")
        connection.execute("UPDATE federation SET schema_version = 1")

    for _ in range(2):
        async with open_journal(tmp_path, None) as journal:
            await journal.become_active()
            assert await journal.read_ledger() == []
            assert await has_outcome(journal, make_outcome(1, 7))
