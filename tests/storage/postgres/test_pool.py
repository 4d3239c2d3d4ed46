from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest

from constellation.errors import ConfigError, NotReadyError
from constellation.storage.postgres.pool import ConnectionPool, abort_connection, connect
from constellation.storage.postgres.store import open_postgres
from tests.polling import retry_until_ready
from tests.storage.postgres.stores import (
    execute,
    make_settings,
    open_store_behind_proxy,
    wait_for_lock,
)
from tests.storage.samples import make_commit, read_patterns, to_slots

if TYPE_CHECKING:
    from psycopg import AsyncConnection


async def insert_row(connection: AsyncConnection) -> None:
    await connection.execute("INSERT INTO constellation.shard (shard_id, secret) VALUES (7, '')")


async def insert_row_and_fail(connection: AsyncConnection) -> None:
    await insert_row(connection)
    await connection.execute("SELECT 1 / 0")


async def test_a_transaction_is_committed_by_its_end_and_undone_by_an_error(
    postgres_url: str,
) -> None:
    count = "SELECT count(*) FROM constellation.shard"
    async with ConnectionPool.open(make_settings(postgres_url), "the database", 1) as pool:
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with pool.transact() as connection:
                await insert_row_and_fail(connection)
        assert execute(postgres_url, count) == [(0,)]

        async with pool.transact() as connection:
            await insert_row(connection)

        assert execute(postgres_url, count) == [(1,)]


async def test_a_connection_comes_back_without_the_time_limits_of_a_transaction(
    postgres_url: str,
) -> None:
    settings = make_settings(postgres_url, timeout_seconds=1.5)
    async with ConnectionPool.open(settings, "the database", 1) as pool:
        limits = []
        async with pool.transact() as connection:
            limits.append(await (await connection.execute("SHOW statement_timeout")).fetchone())
        async with pool.lend() as connection:
            limits.append(await (await connection.execute("SHOW statement_timeout")).fetchone())

    assert limits == [("1500ms",), ("0",)]


async def test_a_server_that_is_unreachable_is_reported_by_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(
        NotReadyError, match=r"the database does not answer: .*Start it, or correct"
    ):
        await connect(f"postgresql://u@127.0.0.1:{port}/d", "the database")


async def test_a_refused_login_is_a_wrong_setting(postgres_url: str) -> None:
    url = psycopg.conninfo.make_conninfo(postgres_url, dbname="missing")

    with pytest.raises(ConfigError, match=r'refused the login: .*"missing" does not exist'):
        await connect(url, "the database")


async def test_a_burst_of_reads_opens_no_more_connections_than_the_pool_has(
    postgres_url: str,
) -> None:
    async with (
        open_postgres(make_settings(postgres_url, pool_size=2, timeout_seconds=0.5)) as store,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        await blocker.execute("LOCK TABLE constellation.content IN ACCESS EXCLUSIVE MODE")
        reads = [asyncio.create_task(store.get_content("a")) for _ in range(100)]
        await wait_for_lock(postgres_url, "content")

        ((count,),) = await asyncio.to_thread(
            execute,
            postgres_url,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'constellation'"
            " AND datname = current_database()",
        )

        assert int(str(count)) <= 2 + 2 + 1  # one that asks whether the server is there
        await asyncio.gather(*reads, return_exceptions=True)


async def test_reads_beyond_the_pool_are_refused_and_commits_are_not(postgres_url: str) -> None:
    async with (
        open_postgres(make_settings(postgres_url, pool_size=1, timeout_seconds=0.3)) as store,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        epoch = await store.take_epoch()
        await blocker.execute("LOCK TABLE constellation.content IN ACCESS EXCLUSIVE MODE")

        reads = [asyncio.create_task(store.get_content("a")) for _ in range(200)]
        found = await asyncio.gather(*reads, return_exceptions=True)

        assert {type(each) for each in found} == {NotReadyError}
        assert any("POSTGRES_POOL_SIZE" in str(each) for each in found)
        await store.commit(epoch, make_commit(1, to_slots(1)))


async def test_cutting_a_dead_connection_harms_no_other_socket(postgres_url: str) -> None:
    async with (
        open_store_behind_proxy(postgres_url) as (proxy, store),
        store._connections.lend() as connection,
    ):
        descriptor = connection.pgconn.socket
        proxy.cut_connections()
        abort_connection(connection)
        abort_connection(connection)

        with socket.socket() as other:
            assert other.fileno() != descriptor
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")


async def test_what_the_url_says_of_a_connection_holds(postgres_url: str) -> None:
    url = psycopg.conninfo.make_conninfo(postgres_url, application_name="television")
    async with open_postgres(make_settings(url)) as store, store._connections.lend() as connection:
        found = await (await connection.execute("SHOW application_name")).fetchone()

        assert found == ("television",)


async def test_backends_that_are_killed_are_replaced(postgres_url: str) -> None:
    async with open_postgres(make_settings(postgres_url)) as store:
        epoch = await store.take_epoch()
        for lsn in range(1, 6):
            await asyncio.to_thread(
                execute,
                postgres_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'constellation'",
            )
            await retry_until_ready(partial(store.commit, epoch, make_commit(lsn, to_slots(lsn))))

        assert list(await read_patterns(store)) == [1, 2, 3, 4, 5]
