from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from constellation.storage.memory import MemoryPatternStore
from constellation.storage.postgres.dialect import PGVECTOR, RUVECTOR
from constellation.storage.postgres.migrations import migrate
from constellation.storage.postgres.pool import PostgresSettings
from constellation.storage.postgres.store import open_postgres
from constellation.storage.sqlite.store import SqlitePatternStore, open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from constellation.core.store import PatternStore
    from tests.databases import Databases

RUVECTOR_STAND_IN = Path(__file__).with_name("ruvector.sql")


@pytest.fixture(scope="session")
def ruvector_template(databases: Databases) -> Iterator[str]:
    """The name of a migrated database whose vector type behaves in SQL like that of RuVector."""
    name = databases.create("template1")
    url = databases.url(name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(RUVECTOR_STAND_IN.read_bytes())
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrate(url, RUVECTOR)).result()
    yield name
    databases.drop(name)


@pytest.fixture
def ruvector_url(databases: Databases, ruvector_template: str) -> Iterator[str]:
    with databases.open_database(template=ruvector_template) as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "postgres", "ruvector"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PatternStore]:
    """Each kind of store in turn, empty; PostgreSQL with each vector extension."""
    async with AsyncExitStack() as stack:
        match request.param:
            case "memory":
                yield MemoryPatternStore()
            case "sqlite":
                yield await stack.enter_async_context(open_sqlite(tmp_path / "data"))
            case kind:
                dialect = RUVECTOR if kind == "ruvector" else PGVECTOR
                url = request.getfixturevalue(f"{kind}_url")
                settings = PostgresSettings(url=url, owner="test", dialect=dialect)
                yield await stack.enter_async_context(open_postgres(settings))


@pytest.fixture
async def sqlite_store(tmp_path: Path) -> AsyncIterator[SqlitePatternStore]:
    """An embedded store, empty."""
    async with open_sqlite(tmp_path / "data") as opened:
        yield opened
