"""Opens the journal that the settings choose: PostgreSQL, SQLite or memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from constellation.storage.postgres.dialect import PGVECTOR, Dialect
from federation.journal.memory import MemoryJournal
from federation.journal.postgres import open_postgres_journal
from federation.journal.sqlite import open_sqlite_journal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from federation.journal.contract import Journal


@asynccontextmanager
async def open_journal(
    data_dir: Path | None, postgres_url: str | None, dialect: Dialect = PGVECTOR
) -> AsyncIterator[Journal]:
    """Open the journal in `postgres_url` if given, else in `data_dir` if given, else in memory.

    When the block is left, another federation can become the active one at once. Raises ConfigError
    or NotReadyError; the message says what to do.
    """
    if postgres_url is not None:
        async with open_postgres_journal(postgres_url, dialect) as journal:
            yield journal
    elif data_dir is not None:
        async with open_sqlite_journal(data_dir) as sqlite_journal:
            yield sqlite_journal
    else:
        yield MemoryJournal()
