"""Behaviour of the PostgreSQL store alone: lost answers, an unreachable server, many shards."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pytest

from constellation.core.store import CommitWrites, Totals
from constellation.errors import (
    NotReadyError,
    OutcomeUnknownError,
    StoreFailedError,
)
from constellation.federated.published import StoredGlobal
from constellation.storage.postgres import migrations
from constellation.storage.postgres.dialect import PGVECTOR
from constellation.storage.postgres.store import open_postgres, open_postgres_reader
from tests.polling import retry_until_ready
from tests.proxy import LostCommit
from tests.storage.postgres.stores import (
    execute,
    make_settings,
    open_store_behind_proxy,
)
from tests.storage.samples import (
    make_commit,
    make_content,
    make_device_rows,
    make_pattern_rows,
    read_patterns,
    to_slots,
)

if TYPE_CHECKING:
    from testing.postgres_server import PostgresServer


async def test_two_shards_share_a_database(postgres_url: str) -> None:
    async with (
        open_postgres(make_settings(postgres_url)) as zero,
        open_postgres(make_settings(postgres_url, shard_id=1)) as one,
    ):
        await zero.commit(await zero.take_epoch(), make_commit(1, to_slots(3)))
        await one.commit(await one.take_epoch(), make_commit(1, to_slots(3, 4)))
        await one.put_contents(1, [make_content("a")], [], 0)
        await one.put_global(1, StoredGlobal(1, 1, b"of one"))

        assert list(await read_patterns(zero)) == [3]
        assert list(await read_patterns(one)) == [3, 4]
        assert await zero.count_contents() == 0
        assert await zero.read_secret() != await one.read_secret()
        assert await zero.get_global() is None
        assert await one.get_global() == StoredGlobal(1, 1, b"of one")


async def test_a_shard_whose_row_is_gone_says_so(postgres_url: str) -> None:
    async with open_postgres(make_settings(postgres_url)) as store:
        epoch = await store.take_epoch()
        execute(postgres_url, "DELETE FROM constellation.shard")

        for call in (
            store.probe(),
            store.commit(epoch, make_commit(1, to_slots(1))),
            store.put_global(epoch, StoredGlobal(1, 1, b"")),
            store.take_epoch(),
        ):
            with pytest.raises(StoreFailedError, match="is gone: restore the database"):
                await call


@pytest.mark.parametrize("answered", [True, False])
async def test_a_lost_answer_to_commit_is_unknown_until_it_is_read(
    postgres_url: str, *, answered: bool
) -> None:
    async with open_store_behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.lost_commit = LostCommit(b"INTO constellation.pattern", is_executed=answered)

        with pytest.raises(OutcomeUnknownError):
            await store.commit(epoch, make_commit(1, to_slots(1)))

        assert proxy.cut_count == 1
        await retry_until_ready(store.take_epoch)
        assert await store.read_totals() == Totals(1 if answered else 0)


async def test_a_connection_cut_before_commit_wrote_nothing(postgres_url: str) -> None:
    async with open_store_behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.should_cut_request = lambda data: b"COPY pg_temp.stage_pattern" in data

        with pytest.raises(NotReadyError, match="does not answer"):
            await store.commit(epoch, make_commit(1, to_slots(1)))

        proxy.should_cut_request = lambda _: False
        await retry_until_ready(lambda: store.commit(epoch, make_commit(1, to_slots(2))))
        assert list(await read_patterns(store)) == [2]


async def test_a_server_that_hangs_is_given_up(postgres_url: str) -> None:
    async with open_store_behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.pause()

        async with asyncio.timeout(5):  # its own time-out is 1 s
            with pytest.raises(NotReadyError):
                await store.commit(epoch, make_commit(1, to_slots(1)))

        proxy.resume()
        await retry_until_ready(lambda: store.commit(epoch, make_commit(1, to_slots(1))))


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(postgres_url: str) -> None:
    async with (
        open_postgres(make_settings(postgres_url, timeout_seconds=0.2)) as store,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        epoch = await store.take_epoch()
        await blocker.execute("LOCK TABLE constellation.device IN ACCESS EXCLUSIVE MODE")
        change = make_commit(1, to_slots(1))
        with_device = replace(change, device_slots=to_slots(0), device_rows=make_device_rows(1))

        with pytest.raises(NotReadyError, match="statement timeout"):
            await store.commit(epoch, with_device)

        await blocker.rollback()
        assert await store.read_totals() == Totals()
        await retry_until_ready(lambda: store.commit(epoch, with_device))


async def test_a_server_that_crashes_loses_nothing_that_was_committed(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database("crash")
    await migrations.migrate(url, PGVECTOR)
    async with open_postgres(make_settings(url)) as store:
        epoch = await store.take_epoch()
        await store.commit(epoch, make_commit(1, np.arange(500)))
        before = await read_patterns(store)

        postgres_server.stop(signal.SIGQUIT)
        with pytest.raises(NotReadyError):
            await store.commit(epoch, make_commit(2, to_slots(1)))
        with pytest.raises(NotReadyError):
            await store.probe()
        postgres_server.start()

        await retry_until_ready(store.probe)
        assert await read_patterns(store) == before
        await store.commit(epoch, make_commit(2, to_slots(1)))


async def test_a_database_that_went_back_is_not_written(postgres_url: str) -> None:
    """This happens after a failover to a standby that lagged."""
    async with open_postgres(make_settings(postgres_url)) as store:
        epoch = await store.take_epoch()
        await store.commit(epoch, make_commit(1, to_slots(1)))
        execute(postgres_url, "UPDATE constellation.shard SET lsn = 0")

        with pytest.raises(StoreFailedError, match="lsn must be 1, got 2"):
            await store.commit(epoch, make_commit(2, to_slots(2)))


async def test_a_snapshot_is_read_as_it_was_while_the_owner_writes(postgres_url: str) -> None:
    async with open_postgres(make_settings(postgres_url)) as store:
        epoch = await store.take_epoch()
        await store.commit(epoch, make_commit(1, np.arange(5000)))
        async with open_postgres_reader(make_settings(postgres_url)) as reader:
            await store.commit(epoch, CommitWrites(Totals(2), freed_slots=np.arange(100)))

            found = await read_patterns(reader)

            assert list(found) == list(range(5000))
            assert await reader.read_totals() == Totals(1)


async def test_an_embedding_is_one_that_sql_can_compare(postgres_url: str) -> None:
    async with open_postgres(make_settings(postgres_url)) as store:
        rows = make_pattern_rows(2)
        rows["codes"][1] = np.clip(rows["codes"][0].astype(int) // 2, -127, 127)
        await store.commit(
            await store.take_epoch(), CommitWrites(Totals(1), slots=to_slots(0, 1), rows=rows)
        )

    ((distance,),) = execute(
        postgres_url,
        "SELECT a.embedding <=> b.embedding FROM constellation.pattern a, constellation.pattern b"
        " WHERE a.slot = 0 AND b.slot = 1",
    )

    first, second = rows["codes"].astype(np.float64)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert distance == pytest.approx(1 - cosine, abs=1e-6)


async def test_the_last_global_outlives_its_process(postgres_url: str) -> None:
    first, second = StoredGlobal(1, 1, b"first"), StoredGlobal(1, 2, b"second")
    async with open_postgres(make_settings(postgres_url)) as store:
        await store.put_global(await store.take_epoch(), first)

    async with (
        open_postgres(make_settings(postgres_url, "second")) as store,
        open_postgres_reader(make_settings(postgres_url)) as reader,
    ):
        assert await reader.get_global() == first
        await store.put_global(await store.take_epoch(), second)
        assert await store.get_global() == second
        assert await reader.get_global() == first


@pytest.mark.parametrize("answered", [True, False])
async def test_a_lost_answer_to_a_global_asks_to_put_it_again(
    postgres_url: str, *, answered: bool
) -> None:
    stored = StoredGlobal(1, 1, bytes(300_000))
    async with open_store_behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.lost_commit = LostCommit(b"INTO constellation.global", is_executed=answered)
        with pytest.raises(NotReadyError):
            await store.put_global(epoch, stored)

        assert proxy.cut_count == 1
        await retry_until_ready(partial(store.put_global, epoch, stored))

        assert await store.get_global() == stored
