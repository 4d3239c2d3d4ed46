"""The right to write a shard: leases, takeovers and epochs."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from structlog.testing import capture_logs

from constellation.errors import (
    FencedError,
    NotReadyError,
)
from constellation.storage.postgres.store import open_postgres
from tests.polling import retry_until_ready, wait_until
from tests.proxy import LostCommit
from tests.storage.postgres.stores import (
    execute,
    make_settings,
    open_store_behind_proxy,
    wait_for_lock,
)
from tests.storage.samples import (
    make_commit,
    read_patterns,
    to_slots,
)


async def test_a_lease_is_waited_for_and_given_up_at_the_end(postgres_url: str) -> None:
    async with open_postgres(make_settings(postgres_url, "second")) as second:
        async with open_postgres(make_settings(postgres_url)) as first:
            await first.take_epoch()
            with capture_logs() as logs:
                waiting = asyncio.create_task(second.take_epoch())
                await wait_until(lambda: asyncio.sleep(0, bool(logs)))
            assert logs[0]["event"] == "waiting_for_lease"
            assert logs[0]["owner"] == "first (epoch 1)"
            assert not waiting.done()

        async with asyncio.timeout(5):  # the lease itself is longer
            assert await waiting == 2


async def test_a_lease_that_is_kept_outlives_its_length(postgres_url: str) -> None:
    async with (
        open_postgres(make_settings(postgres_url, lease_seconds=0.3)) as first,
        open_postgres(make_settings(postgres_url, "second")) as second,
    ):
        epoch = await first.take_epoch()
        holding = asyncio.create_task(first.hold_forever())
        waiting = asyncio.create_task(second.take_epoch())

        done, _ = await asyncio.wait({waiting, holding}, timeout=1.5)

        assert not done
        await first.commit(epoch, make_commit(1, to_slots(1)))
        holding.cancel()
        assert await waiting == epoch + 1


async def test_an_owner_that_slept_past_its_lease_writes_nothing(postgres_url: str) -> None:
    async with (
        open_postgres(make_settings(postgres_url, lease_seconds=0.05)) as first,
        open_postgres(make_settings(postgres_url, "second")) as second,
    ):
        stale = await first.take_epoch()
        await first.commit(stale, make_commit(1, to_slots(1)))
        epoch = await second.take_epoch()

        with pytest.raises(FencedError, match=f"epoch {stale} was taken over by epoch {epoch}"):
            await first.commit(stale, make_commit(2, to_slots(2)))
        with pytest.raises(FencedError, match=r"taken over by second \(epoch 2\)"):
            await first.hold_forever()
        with pytest.raises(FencedError):
            await first.take_epoch()

        assert list(await read_patterns(second)) == [1]


async def test_a_take_whose_answer_was_lost_leaves_the_owner_in_place(postgres_url: str) -> None:
    async with open_store_behind_proxy(postgres_url) as (proxy, store):
        epoch = await store.take_epoch()
        proxy.lost_commit = LostCommit(b"epoch = epoch + 1", is_executed=True)

        with pytest.raises(NotReadyError):
            await store.take_epoch()

        await retry_until_ready(store._lease.renew)
        assert await retry_until_ready(store.take_epoch) == epoch + 2


async def test_an_owner_keeps_its_lease_while_it_takes_a_new_epoch(postgres_url: str) -> None:
    async with open_postgres(make_settings(postgres_url)) as store:
        await store.take_epoch()
        renewals = [store._lease.renew() for _ in range(20)]
        takes = [store.take_epoch() for _ in range(20)]

        await asyncio.gather(*(call for pair in zip(renewals, takes, strict=True) for call in pair))

        assert await store.take_epoch() == 22


async def test_an_epoch_that_was_given_twice_fences_who_lost_it(postgres_url: str) -> None:
    """A failover lost the takeover of one process, and the next one got the same epoch."""
    async with (
        open_postgres(make_settings(postgres_url)) as lost,
        open_postgres(make_settings(postgres_url, "second")) as owner,
    ):
        epoch = await lost.take_epoch()
        execute(postgres_url, "UPDATE constellation.shard SET epoch = 0, lease_until = '-infinity'")
        assert await owner.take_epoch() == epoch

        with pytest.raises(FencedError, match="epoch 1 belongs to second: the database lost"):
            await lost.commit(epoch, make_commit(1, to_slots(1)))
        await owner.commit(epoch, make_commit(1, to_slots(2)))

        assert list(await read_patterns(owner)) == [2]


async def test_a_takeover_waits_for_the_commit_that_is_under_way(postgres_url: str) -> None:
    """A row lock of the commit, not the lease, is what makes it wait."""
    async with (
        open_postgres(make_settings(postgres_url, lease_seconds=0.01)) as first,
        open_postgres(make_settings(postgres_url, "second")) as second,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        epoch = await first.take_epoch()
        await blocker.execute("LOCK TABLE constellation.pattern IN ACCESS EXCLUSIVE MODE")
        commit = asyncio.create_task(first.commit(epoch, make_commit(1, to_slots(1))))
        await wait_for_lock(postgres_url, "pattern")
        takeover = asyncio.create_task(second.take_epoch())
        await wait_for_lock(postgres_url, "shard")
        assert not takeover.done()

        await blocker.rollback()

        await commit
        assert await takeover == epoch + 1
        assert (await second.read_totals()).lsn == 1


async def test_the_server_ends_what_an_owner_left_open(postgres_url: str) -> None:
    """An owner that is cut off during a commit must not lock its row for hours."""
    async with (
        open_postgres(make_settings(postgres_url, timeout_seconds=0.5, lease_seconds=0.1)) as first,
        open_postgres(make_settings(postgres_url, "second")) as second,
    ):
        await first.take_epoch()

        async def leave_open() -> None:
            async with first._connections.transact() as connection:
                await connection.execute("UPDATE constellation.shard SET lsn = lsn")
                async with asyncio.timeout(5):
                    assert await second.take_epoch() == 2

        with pytest.raises(NotReadyError, match="idle-in-transaction timeout"):
            await leave_open()
