"""What only PostgreSQL does: takeovers, lost answers, a server that goes away, wrong databases."""

from __future__ import annotations

import asyncio
import signal
import socket
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pytest
from structlog.testing import capture_logs

from constellation.core.errors import (
    ConfigError,
    ConstellationError,
    FencedError,
    NotReadyError,
    OutcomeUnknownError,
    StoreFailedError,
)
from constellation.core.store import Changes, Totals
from constellation.storage import migrations
from constellation.storage.dialect import PGVECTOR
from constellation.storage.postgres import PostgresPatternStore, open_postgres, open_snapshot
from constellation.storage.postgres_pool import PostgresSettings, cut
from tests.eventually import eventually, once_ready
from tests.proxy import LostCommit, Proxy
from tests.storage.samples import (
    content,
    device_rows,
    pattern_rows,
    patterns_at,
    patterns_in,
    slots,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from examples.demo.postgres import PostgresServer
    from tests.databases import Databases


def settings(url: str, owner: str = "first", **more: float) -> PostgresSettings:
    return replace(PostgresSettings(url=url, owner=owner), **more)  # type: ignore[arg-type]


@asynccontextmanager
async def behind_proxy(url: str) -> AsyncIterator[tuple[Proxy, PostgresPatternStore]]:
    """Open a store that reaches its database through a proxy."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    async with Proxy.open(str(parts["host"]), int(str(parts["port"]))) as proxy:
        through = psycopg.conninfo.make_conninfo(url, port=proxy.port, sslmode="disable")
        async with open_postgres(settings(through, timeout_seconds=1)) as store:
            yield proxy, store


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def test_two_shards_share_a_database(postgres_url: str) -> None:
    async with (
        open_postgres(settings(postgres_url)) as zero,
        open_postgres(settings(postgres_url, shard_id=1)) as one,
    ):
        await zero.commit(await zero.take_epoch(), patterns_at(1, slots(3)))
        await one.commit(await one.take_epoch(), patterns_at(1, slots(3, 4)))
        await one.put_contents(1, [content("a")], [])

        assert list(await patterns_in(zero)) == [3]
        assert list(await patterns_in(one)) == [3, 4]
        assert await zero.count_contents() == 0
        assert await zero.secret() != await one.secret()


async def test_a_lease_is_waited_for_and_given_up_at_the_end(postgres_url: str) -> None:
    async with open_postgres(settings(postgres_url, "second")) as second:
        async with open_postgres(settings(postgres_url)) as first:
            await first.take_epoch()
            with capture_logs() as logs:
                waiting = asyncio.create_task(second.take_epoch())
                await eventually(lambda: asyncio.sleep(0, bool(logs)))
            assert logs[0]["event"] == "lease_awaited"
            assert logs[0]["owner"] == "first (epoch 1)"
            assert not waiting.done()

        async with asyncio.timeout(5):  # the lease itself is longer
            assert await waiting == 2


async def test_a_lease_that_is_kept_outlives_its_length(postgres_url: str) -> None:
    async with (
        open_postgres(settings(postgres_url, lease_seconds=0.3)) as first,
        open_postgres(settings(postgres_url, "second")) as second,
    ):
        epoch = await first.take_epoch()
        holding = asyncio.create_task(first.hold_forever())
        waiting = asyncio.create_task(second.take_epoch())

        done, _ = await asyncio.wait({waiting, holding}, timeout=1.5)

        assert not done
        await first.commit(epoch, patterns_at(1, slots(1)))
        holding.cancel()
        assert await waiting == epoch + 1


async def test_an_owner_that_slept_past_its_lease_writes_nothing(postgres_url: str) -> None:
    async with (
        open_postgres(settings(postgres_url, lease_seconds=0.05)) as first,
        open_postgres(settings(postgres_url, "second")) as second,
    ):
        stale = await first.take_epoch()
        await first.commit(stale, patterns_at(1, slots(1)))
        epoch = await second.take_epoch()

        with pytest.raises(FencedError, match=f"epoch {stale} was taken over by epoch {epoch}"):
            await first.commit(stale, patterns_at(2, slots(2)))
        with pytest.raises(FencedError, match=r"taken over by second \(epoch 2\)"):
            await first.hold_forever()
        with pytest.raises(FencedError):
            await first.take_epoch()

        assert list(await patterns_in(second)) == [1]


async def test_a_take_whose_answer_was_lost_leaves_the_owner_in_place(postgres_url: str) -> None:
    async with behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.lost_commit = LostCommit(b"epoch = epoch + 1", answered=True)

        with pytest.raises(NotReadyError):
            await store.take_epoch()

        await once_ready(store._lease.renew)
        assert await once_ready(store.take_epoch) == epoch + 2


async def test_an_owner_keeps_its_lease_while_it_takes_a_new_epoch(postgres_url: str) -> None:
    async with open_postgres(settings(postgres_url)) as store:
        await store.take_epoch()
        renewals = [store._lease.renew() for _ in range(20)]
        takes = [store.take_epoch() for _ in range(20)]

        await asyncio.gather(*(call for pair in zip(renewals, takes, strict=True) for call in pair))

        assert await store.take_epoch() == 22


async def test_an_epoch_that_was_given_twice_fences_who_lost_it(postgres_url: str) -> None:
    """A failover lost the takeover of one process, and the next one got the same epoch."""
    async with (
        open_postgres(settings(postgres_url)) as lost,
        open_postgres(settings(postgres_url, "second")) as owner,
    ):
        epoch = await lost.take_epoch()
        run(postgres_url, "UPDATE constellation.shard SET epoch = 0, lease_until = '-infinity'")
        assert await owner.take_epoch() == epoch

        with pytest.raises(FencedError, match="epoch 1 is also one of second: the database went"):
            await lost.commit(epoch, patterns_at(1, slots(1)))
        with pytest.raises(FencedError):
            await lost.forget_changes(epoch, 0)
        await owner.commit(epoch, patterns_at(1, slots(2)))

        assert list(await patterns_in(owner)) == [2]


async def test_a_shard_whose_row_is_gone_says_so(postgres_url: str) -> None:
    async with open_postgres(settings(postgres_url)) as store:
        epoch = await store.take_epoch()
        run(postgres_url, "DELETE FROM constellation.shard")

        for call in (
            store.probe(),
            store.commit(epoch, patterns_at(1, slots(1))),
            store.forget_changes(epoch, 1),
            store.take_epoch(),
        ):
            with pytest.raises(StoreFailedError, match="is gone: restore the database"):
                await call


async def test_the_server_ends_what_an_owner_left_open(postgres_url: str) -> None:
    """An owner that is cut off in the middle of a commit must not keep its row for hours."""
    async with (
        open_postgres(settings(postgres_url, timeout_seconds=0.5, lease_seconds=0.1)) as first,
        open_postgres(settings(postgres_url, "second")) as second,
    ):
        await first.take_epoch()

        async def leave_open() -> None:
            async with first._own.transact() as connection:
                await connection.execute("UPDATE constellation.shard SET lsn = lsn")
                async with asyncio.timeout(5):
                    assert await second.take_epoch() == 2

        with pytest.raises(NotReadyError, match="idle-in-transaction timeout"):
            await leave_open()


async def test_a_burst_of_reads_opens_no_more_connections_than_the_pool_has(
    postgres_url: str,
) -> None:
    async with (
        open_postgres(settings(postgres_url, pool_size=2, timeout_seconds=0.5)) as store,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        await blocker.execute("LOCK TABLE constellation.content IN ACCESS EXCLUSIVE MODE")
        reads = [asyncio.create_task(store.get_content("a")) for _ in range(100)]
        await _until_waiting(postgres_url, "content")

        ((count,),) = await asyncio.to_thread(
            run,
            postgres_url,
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'constellation'"
            " AND datname = current_database()",
        )

        assert int(str(count)) <= 2 + 2 + 1  # one that asks whether the server is there
        await asyncio.gather(*reads, return_exceptions=True)


async def test_cutting_a_dead_connection_harms_no_other_socket(postgres_url: str) -> None:
    async with behind_proxy(postgres_url) as (proxy, store), store._own.lend() as connection:
        descriptor = connection.pgconn.socket
        proxy.cut()
        cut(connection)
        cut(connection)

        with socket.socket() as other:
            assert other.fileno() != descriptor
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")


async def test_a_database_that_is_not_utf8_is_refused(databases: Databases) -> None:
    name = f"latin_{uuid.uuid4().hex}"
    admin = databases.url("postgres")
    run(admin, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(ConfigError, match="has the encoding LATIN1"):
            await migrations.migrate(databases.url(name), PGVECTOR)
    finally:
        databases.drop(name)


async def test_what_the_url_says_of_a_connection_holds(postgres_url: str) -> None:
    url = psycopg.conninfo.make_conninfo(postgres_url, application_name="television")
    async with open_postgres(settings(url)) as store, store._own.lend() as connection:
        found = await (await connection.execute("SHOW application_name")).fetchone()

        assert found == ("television",)


async def test_a_takeover_waits_for_the_commit_that_is_under_way(postgres_url: str) -> None:
    """A row lock of the commit, not the lease, is what makes it wait."""
    async with (
        open_postgres(settings(postgres_url, lease_seconds=0.01)) as first,
        open_postgres(settings(postgres_url, "second")) as second,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        epoch = await first.take_epoch()
        await blocker.execute("LOCK TABLE constellation.change IN ACCESS EXCLUSIVE MODE")
        commit = asyncio.create_task(first.commit(epoch, patterns_at(1, slots(1))))
        await _until_waiting(postgres_url, "change")
        takeover = asyncio.create_task(second.take_epoch())
        await _until_waiting(postgres_url, "shard")
        assert not takeover.done()

        await blocker.rollback()

        await commit
        assert await takeover == epoch + 1
        assert (await second.totals()).lsn == 1


async def _until_waiting(url: str, table: str) -> None:
    """Return once a statement about a table waits for a lock."""
    statement = (
        "SELECT query FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def waits() -> bool:
        waiting = await asyncio.to_thread(run, url, statement)
        return any(f"constellation.{table}" in str(query) for (query,) in waiting)

    await eventually(waits)


@pytest.mark.parametrize("answered", [True, False])
async def test_a_lost_answer_to_commit_is_unknown_until_it_is_read(
    postgres_url: str, *, answered: bool
) -> None:
    async with behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.lost_commit = LostCommit(b"INTO constellation.pattern", answered=answered)

        with pytest.raises(OutcomeUnknownError):
            await store.commit(epoch, patterns_at(1, slots(1)))

        assert proxy.cuts == 1
        await once_ready(store.take_epoch)
        assert await store.totals() == Totals(1 if answered else 0)


async def test_a_connection_cut_before_commit_wrote_nothing(postgres_url: str) -> None:
    async with behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.cut_requests = lambda data: b"COPY pg_temp.stage_pattern" in data

        with pytest.raises(NotReadyError, match="does not answer"):
            await store.commit(epoch, patterns_at(1, slots(1)))

        proxy.cut_requests = lambda _: False
        await once_ready(lambda: store.commit(epoch, patterns_at(1, slots(2))))
        assert list(await patterns_in(store)) == [2]


async def test_a_server_that_hangs_is_given_up(postgres_url: str) -> None:
    async with behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.pause()

        async with asyncio.timeout(5):  # its own time-out is 1 s
            with pytest.raises(NotReadyError):
                await store.commit(epoch, patterns_at(1, slots(1)))

        proxy.resume()
        await once_ready(lambda: store.commit(epoch, patterns_at(1, slots(1))))


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(postgres_url: str) -> None:
    async with (
        open_postgres(settings(postgres_url, timeout_seconds=0.2)) as store,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        epoch = await store.take_epoch()
        await blocker.execute("LOCK TABLE constellation.device IN ACCESS EXCLUSIVE MODE")
        change = patterns_at(1, slots(1))
        with_device = replace(change, device_slots=slots(0), device_rows=device_rows(1))

        with pytest.raises(NotReadyError, match="statement timeout"):
            await store.commit(epoch, with_device)

        await blocker.rollback()
        assert await store.totals() == Totals()
        await once_ready(lambda: store.commit(epoch, with_device))


async def test_reads_beyond_the_pool_are_refused_and_commits_are_not(postgres_url: str) -> None:
    async with (
        open_postgres(settings(postgres_url, pool_size=1, timeout_seconds=0.3)) as store,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        epoch = await store.take_epoch()
        await blocker.execute("LOCK TABLE constellation.content IN ACCESS EXCLUSIVE MODE")

        reads = [asyncio.create_task(store.get_content("a")) for _ in range(200)]
        found = await asyncio.gather(*reads, return_exceptions=True)

        assert {type(each) for each in found} == {NotReadyError}
        assert any("POSTGRES_POOL_SIZE" in str(each) for each in found)
        await store.commit(epoch, patterns_at(1, slots(1)))


async def test_a_server_that_crashes_loses_nothing_that_was_committed(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create("crash")
    await migrations.migrate(url, PGVECTOR)
    async with open_postgres(settings(url)) as store:
        epoch = await store.take_epoch()
        await store.commit(epoch, patterns_at(1, np.arange(500)))
        before = await patterns_in(store)

        postgres_server.stop(signal.SIGQUIT)
        with pytest.raises(NotReadyError):
            await store.commit(epoch, patterns_at(2, slots(1)))
        with pytest.raises(NotReadyError):
            await store.probe()
        postgres_server.start()

        await once_ready(store.probe)
        assert await patterns_in(store) == before
        await store.commit(epoch, patterns_at(2, slots(1)))


async def test_backends_that_are_killed_are_replaced(postgres_url: str) -> None:
    async with open_postgres(settings(postgres_url)) as store:
        epoch = await store.take_epoch()
        for lsn in range(1, 6):
            await asyncio.to_thread(
                run,
                postgres_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'constellation'",
            )
            await once_ready(partial(store.commit, epoch, patterns_at(lsn, slots(lsn))))

        assert list(await patterns_in(store)) == [1, 2, 3, 4, 5]


async def test_a_database_that_went_back_is_not_written(postgres_url: str) -> None:
    """As after a failover to a standby that lagged."""
    async with open_postgres(settings(postgres_url)) as store:
        epoch = await store.take_epoch()
        await store.commit(epoch, patterns_at(1, slots(1)))
        run(postgres_url, "UPDATE constellation.shard SET lsn = 0")

        with pytest.raises(StoreFailedError, match="lsn must be 1, got 2"):
            await store.commit(epoch, patterns_at(2, slots(2)))


async def test_a_snapshot_is_read_as_it_was_while_the_owner_writes(postgres_url: str) -> None:
    async with open_postgres(settings(postgres_url)) as store:
        epoch = await store.take_epoch()
        await store.commit(epoch, patterns_at(1, np.arange(5000)))
        async with open_snapshot(settings(postgres_url)) as reader:
            await store.commit(epoch, Changes(Totals(2), freed=np.arange(100)))

            found = await patterns_in(reader)

            assert list(found) == list(range(5000))
            assert await reader.totals() == Totals(1)


async def test_an_embedding_is_one_that_sql_can_compare(postgres_url: str) -> None:
    async with open_postgres(settings(postgres_url)) as store:
        rows = pattern_rows(2)
        rows["codes"][1] = np.clip(rows["codes"][0].astype(int) // 2, -127, 127)
        await store.commit(
            await store.take_epoch(), Changes(Totals(1), slots=slots(0, 1), rows=rows)
        )

    ((distance,),) = run(
        postgres_url,
        "SELECT a.embedding <=> b.embedding FROM constellation.pattern a, constellation.pattern b"
        " WHERE a.slot = 0 AND b.slot = 1",
    )

    first, second = rows["codes"].astype(np.float64)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert distance == pytest.approx(1 - cosine, abs=1e-6)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM constellation.migration", "has schema 0, this program needs 1: run"),
        (
            "INSERT INTO constellation.migration VALUES (7, '0007_later.sql')",
            "has schema 7, this program knows 1: start the newer version",
        ),
        (
            (
                "DROP VIEW constellation.readable_pattern;"
                "ALTER TABLE constellation.pattern ALTER embedding TYPE halfvec(128)"
            ),
            r"stores embeddings as halfvec\(128\), this program needs halfvec\(384\)",
        ),
        ("DROP SCHEMA constellation CASCADE", "has schema 0, this program needs 1"),
    ],
)
async def test_another_schema_is_refused(postgres_url: str, statement: str, message: str) -> None:
    run(postgres_url, statement)

    with pytest.raises(ConfigError, match=message):
        async with open_postgres(settings(postgres_url)):
            pass


async def test_a_user_without_privileges_is_told(postgres_url: str) -> None:
    user = psycopg.conninfo.make_conninfo(postgres_url, user="guest", password="guest")  # noqa: S106
    run(postgres_url, "DROP ROLE IF EXISTS guest")
    run(postgres_url, "CREATE ROLE guest LOGIN PASSWORD 'guest'")

    with pytest.raises(ConfigError, match=r"refused: permission denied .*Grant this user"):
        async with open_postgres(settings(user)):
            pass


async def test_migrating_at_once_from_two_places_applies_each_file_once(
    databases: Databases,
) -> None:
    with databases.one(template="template1") as url:
        done = await asyncio.gather(*(migrations.migrate(url, PGVECTOR) for _ in range(2)))

        assert sorted(len(each) for each in done) == [0, len(migrations.known())]
        assert [each.version for each in await migrations.status(url)] == [1]


async def test_a_migration_that_fails_leaves_nothing(databases: Databases) -> None:
    with databases.one(template="template1") as url:
        run(url, "CREATE SCHEMA constellation")
        run(url, "CREATE TABLE constellation.change (something integer)")

        with pytest.raises((psycopg.Error, ConstellationError)):
            await migrations.migrate(url, PGVECTOR)

        assert list(await migrations.status(url)) == []
        assert run(url, "SELECT count(*) FROM pg_class WHERE relname = 'shard'") == [(0,)]
