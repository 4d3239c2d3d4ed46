"""SqliteJournal: rounds in one SQLite file, used by one writer thread of one process at a time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from constellation.errors import StoreInUseError
from federation.journal.contract import (
    MAX_ROUND_ID,
    MAX_ROUNDS,
    RoundRecord,
    check_begin,
    check_close,
    check_save,
    select_new_rows,
    wait_for_turn,
)
from federation.journal.ledger_columns import LEDGER_COLUMNS, to_ledger_row, to_ledger_values
from federation.journal.sqlite_file import JournalFile
from federation.privacy.ledger import LEDGER_WEEKS
from federation.round_report import RoundState

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from federation.journal.contract import OrderCheck, RoundOutput
    from federation.journal.sqlite_file import Work
    from federation.privacy.ledger import LedgerRow

T = TypeVar("T")
_WATCH_SECONDS: Final = 1.0
"""Pause between two checks that the files still exist. Every write checks as well."""


@asynccontextmanager
async def open_sqlite_journal(
    data_dir: Path, pragmas: tuple[str, ...] = ()
) -> AsyncIterator[SqliteJournal]:
    """Open the journal in this directory, which is not touched until `become_active`.

    When the block is left, another federation can become the active one. `pragmas` are further
    PRAGMA statements for the file.
    """
    loop = asyncio.get_running_loop()
    file = JournalFile(data_dir, pragmas)
    with ThreadPoolExecutor(1, thread_name_prefix="journal") as writer:
        try:
            yield SqliteJournal(file, writer)
        finally:
            await loop.run_in_executor(writer, file.close)


class SqliteJournal:
    """A Journal in one SQLite file. All SQL runs in the writer thread, in call order."""

    kind: Final = "sqlite"

    def __init__(self, file: JournalFile, writer: ThreadPoolExecutor) -> None:
        self._file = file
        """Only the writer thread may use it."""
        self._writer = writer

    async def become_active(self) -> None:
        """Wait for the lock of the directory, then open the file, or create it.

        Raises ConfigError, DamagedStoreError or StoreFailedError; the message says what to do.
        """
        await wait_for_turn(self._try_become_active)

    async def _try_become_active(self) -> str:
        try:
            await self._run_in_writer(self._file.open)
        except StoreInUseError as error:
            return str(error)
        return ""

    async def stay_active_forever(self) -> None:
        """Watch the files: this process holds the lock of its directory as long as they exist.

        Raises StoreFailedError after a failed write, or once a file was removed or replaced.
        """
        while True:
            await self._run_in_writer(self._file.require_intact)
            await asyncio.sleep(_WATCH_SECONDS)

    async def read_generation(self) -> int:
        return await self._read(_read_generation)

    async def read_newest(self) -> RoundRecord | None:
        return await self._read(_read_newest)

    async def read_round(self, round_id: int) -> RoundRecord | None:
        return await self._read(partial(_read_round, round_id=round_id))

    async def read_rounds(self, before: int | None, limit: int) -> Sequence[RoundRecord]:
        return await self._read(partial(_read_rounds, before=before, limit=limit))

    async def read_result(self) -> tuple[int, bytes] | None:
        return await self._read(_read_result)

    async def read_model_state(self) -> bytes | None:
        return await self._read(_read_model_state)

    async def read_aggregates(self) -> Mapping[int, bytes]:
        return await self._read(_read_aggregates)

    async def read_ledger(self) -> Sequence[LedgerRow]:
        return await self._read(_read_ledger)

    async def begin_round(self, record: RoundRecord) -> None:
        await self._write(partial(_begin_round, record=record))

    async def save_result(self, record: RoundRecord, output: RoundOutput) -> None:
        await self._write(partial(_save_result, record=record, output=output))

    async def close_round(self, record: RoundRecord) -> None:
        await self._write(partial(_write_round, record=record, check=check_close))

    async def delete_aggregates(self, parts: Sequence[int]) -> None:
        await self._write(partial(_delete_aggregates, parts=parts))

    async def _read(self, work: Work[T]) -> T:
        return await self._run_in_writer(partial(self._file.read, work))

    async def _write(self, work: Work[None]) -> None:
        await self._run_in_writer(partial(self._file.write, work))
        self._writer.submit(self._file.checkpoint)  # if it fails, the next call raises

    async def _run_in_writer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)


def _read_generation(connection: sqlite3.Connection) -> int:
    (generation,) = connection.execute("SELECT generation FROM federation").fetchone()
    return int(generation)


def _read_newest(connection: sqlite3.Connection) -> RoundRecord | None:
    return next(iter(_read_rounds(connection, None, 1)), None)


def _read_round(connection: sqlite3.Connection, round_id: int) -> RoundRecord | None:
    newest = _read_rounds(connection, round_id + 1, 1)
    return next((record for record in newest if record.round_id == round_id), None)


def _read_rounds(
    connection: sqlite3.Connection, before: int | None, limit: int
) -> Sequence[RoundRecord]:
    rows = connection.execute(
        "SELECT round_id, state, started_at, summary FROM round"
        " WHERE round_id < ? ORDER BY round_id DESC LIMIT ?",
        (MAX_ROUND_ID if before is None else before, limit),
    )
    return [
        RoundRecord(round_id, RoundState(state), started_at, summary)
        for round_id, state, started_at, summary in rows
    ]


def _read_result(connection: sqlite3.Connection) -> tuple[int, bytes] | None:
    row = connection.execute("SELECT round_id, result FROM round_result").fetchone()
    return None if row is None else (row[0], row[1])


def _read_model_state(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT memory FROM round_result").fetchone()
    return None if row is None else bytes(row[0])


def _read_aggregates(connection: sqlite3.Connection) -> Mapping[int, bytes]:
    return dict(connection.execute("SELECT shard_id, payload FROM round_aggregate"))


def _read_ledger(connection: sqlite3.Connection) -> Sequence[LedgerRow]:
    rows = connection.execute(f"SELECT {LEDGER_COLUMNS} FROM privacy_ledger")  # noqa: S608
    return [to_ledger_row(*values) for values in rows]


def _begin_round(connection: sqlite3.Connection, record: RoundRecord) -> None:
    _write_round(connection, record, check_begin)
    connection.execute("DELETE FROM round WHERE round_id <= ?", (record.round_id - MAX_ROUNDS,))


def _save_result(connection: sqlite3.Connection, record: RoundRecord, output: RoundOutput) -> None:
    _write_round(connection, record, check_save)
    connection.execute(
        "INSERT OR REPLACE INTO round_result (one, round_id, result, memory) VALUES (1, ?, ?, ?)",
        (record.round_id, output.result, output.model_state),
    )
    _delete_aggregates(connection, output.removed_aggregates)
    connection.executemany(
        "INSERT OR REPLACE INTO round_aggregate (shard_id, payload) VALUES (?, ?)",
        output.aggregates.items(),
    )
    new_rows = select_new_rows(_read_ledger(connection), output.ledger_rows)
    connection.executemany(
        "INSERT INTO privacy_ledger VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [to_ledger_values(row) for row in new_rows],
    )
    if new_rows:
        oldest = max(row.week for row in new_rows) - LEDGER_WEEKS
        connection.execute("DELETE FROM privacy_ledger WHERE week <= ?", (oldest,))


def _write_round(connection: sqlite3.Connection, record: RoundRecord, check: OrderCheck) -> None:
    check(_read_newest(connection), record)
    connection.execute(
        "INSERT OR REPLACE INTO round (round_id, state, started_at, summary) VALUES (?, ?, ?, ?)",
        (record.round_id, int(record.state), record.started_at, record.summary),
    )


def _delete_aggregates(connection: sqlite3.Connection, parts: Sequence[int]) -> None:
    connection.executemany(
        "DELETE FROM round_aggregate WHERE shard_id = ?", [(part,) for part in parts]
    )
