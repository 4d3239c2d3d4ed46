from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from constellation.errors import NotReadyError
from federation.journal.postgres_session import JournalSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NO_SETUP = "SELECT 1"


@pytest.fixture
async def session(postgres_url: str) -> AsyncIterator[JournalSession]:
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        session = JournalSession(connection, "the database", 30.0)
        await session.prepare()
        yield session


async def test_a_session_without_the_lock_reads_nothing(session: JournalSession) -> None:
    with pytest.raises(NotReadyError, match="not the active one yet"):
        async with session.read():
            pass


async def test_a_lock_is_taken_by_one_session(session: JournalSession, postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        other = JournalSession(connection, "the database", 30.0)

        assert await session.try_lock(NO_SETUP)
        assert not await other.try_lock(NO_SETUP)


async def test_a_block_that_raises_is_rolled_back(session: JournalSession) -> None:
    await session.try_lock(NO_SETUP)
    insert = "INSERT INTO constellation.round_aggregate (shard_id, payload) VALUES (7, 'x')"

    async def insert_and_fail() -> None:
        async with session.transact():
            await session.execute(insert)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await insert_and_fail()

    async with session.read():
        count = "SELECT count(*) FROM constellation.round_aggregate"
        assert await session.execute(count) == [(0,)]


async def test_the_server_soon_notices_that_a_client_is_gone(session: JournalSession) -> None:
    await session.try_lock(NO_SETUP)

    async with session.read():
        rows = await session.execute("SHOW tcp_keepalives_idle")

    assert rows in ([("10",)], [("0",)])  # 0 where the server is reached by a socket in a file
