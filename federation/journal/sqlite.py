"""SqliteJournal: embedded and durable; one file, one writer thread, one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from constellation.errors import StoreInUseError
from federation.journal.contract import (
    MAX_ROUNDS,
    RoundRecord,
    RoundState,
    check_begin,
    check_close,
    check_save,
)
from federation.journal.sqlite_file import JournalFile, Work

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

    from federation.journal.contract import RoundOutput

log = structlog.get_logger(__name__)

_LOCK_POLL_SECONDS: Final = 1.0
"""Between two looks at a lock that another process holds."""
_MAX_ROUND_ID: Final = 2**63 - 1

T = TypeVar("T")
OrderCheck = Callable[[RoundRecord | None, RoundRecord], None]


@asynccontextmanager
async def open_sqlite_journal(
    data_dir: Path, pragmas: tuple[str, ...] = ()
) -> AsyncIterator[SqliteJournal]:
    """Open the journal in this directory; the directory is not touched before `take`.

    Leaving it lets the next federation in.
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
        """Belongs to the writer thread."""
        self._writer = writer

    async def become_active(self) -> None:
        """Take the directory's lock, and open the file, or make it.

        Raises ConfigError, DamagedStoreError or StoreFailedError, each with what to do about it.
        """
        is_logged = False
        while True:
            try:
                await self._run_in_writer(self._file.open)
            except StoreInUseError as error:
                if not is_logged:
                    log.info("waiting_for_active_federation", problem=str(error))
                is_logged = True
            else:
                return
            await asyncio.sleep(_LOCK_POLL_SECONDS)

    async def stay_active_forever(self) -> None:
        """Wait for ever: the directory's lock is held as long as this process lives."""
        await self.read_generation()
        await asyncio.Event().wait()

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

    async def begin_round(self, record: RoundRecord) -> None:
        await self._write(partial(_begin_round, record=record))

    async def save_result(self, record: RoundRecord, output: RoundOutput) -> None:
        await self._write(partial(_save_result, record=record, output=output))

    async def close_round(self, record: RoundRecord) -> None:
        await self._write(partial(_write_round, record=record, check=check_close))

    async def delete_aggregates(self, shard_ids: Sequence[int]) -> None:
        await self._write(partial(_delete_aggregates, shard_ids=shard_ids))

    async def _read(self, work: Work[T]) -> T:
        return await self._run_in_writer(partial(self._file.read, work))

    async def _write(self, work: Work[None]) -> None:
        await self._run_in_writer(partial(self._file.write, work))
        self._writer.submit(self._file.checkpoint)  # its failure is the next call's

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
        (_MAX_ROUND_ID if before is None else before, limit),
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


def _begin_round(connection: sqlite3.Connection, record: RoundRecord) -> None:
    _write_round(connection, record, check_begin)
    connection.execute("DELETE FROM round WHERE round_id <= ?", (record.round_id - MAX_ROUNDS,))


def _save_result(connection: sqlite3.Connection, record: RoundRecord, output: RoundOutput) -> None:
    _write_round(connection, record, check_save)
    connection.execute(
        "INSERT OR REPLACE INTO round_result (one, round_id, result, memory) VALUES (1, ?, ?, ?)",
        (record.round_id, output.result, output.model_state),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO round_aggregate (shard_id, payload) VALUES (?, ?)",
        output.aggregates.items(),
    )


def _write_round(connection: sqlite3.Connection, record: RoundRecord, check: OrderCheck) -> None:
    check(_read_newest(connection), record)
    connection.execute(
        "INSERT OR REPLACE INTO round (round_id, state, started_at, summary) VALUES (?, ?, ?, ?)",
        (record.round_id, int(record.state), record.started_at, record.summary),
    )


def _delete_aggregates(connection: sqlite3.Connection, shard_ids: Sequence[int]) -> None:
    connection.executemany(
        "DELETE FROM round_aggregate WHERE shard_id = ?", [(shard_id,) for shard_id in shard_ids]
    )
