"""PostgreSQL fails over while its old primary stays up, read-only: what was acked is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.errors import FencedError
from constellation.storage.postgres import migrations
from constellation.storage.postgres.dialect import PGVECTOR
from constellation.v1 import health_pb2 as health
from constellation.v1 import health_pb2_grpc
from federation.journal.open import open_journal
from testing.postgres_server import PostgresServer
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.federation.journal.samples import make_pulling_round
from tests.polling import wait_until
from tests.sync_client import make_delta_message, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "postgres"
WATCH_SECONDS = 3.0
"""Long enough for several probes of the store."""


class Pair:
    """A primary and its standby."""

    def __init__(self, primary: PostgresServer, standby: PostgresServer) -> None:
        self.primary = primary
        self.standby = standby
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        user = primary.make_url().partition("@")[0]
        self.url = f"{user}@{hosts}/{DATABASE}?target_session_attrs=read-write"

    def make_primary_read_only(self) -> None:
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        self.primary.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        self.primary.execute("SELECT pg_reload_conf()")

    def promote_standby(self) -> None:
        self.standby.execute("SELECT pg_promote(wait => true)")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with PostgresServer.open() as primary:
        primary.execute("CREATE EXTENSION vector")
        with PostgresServer.open_standby(primary) as standby:
            yield Pair(primary, standby)


async def test_a_shard_follows_a_failover_from_a_primary_that_stays_up(pair: Pair) -> None:
    await migrations.migrate(pair.url, PGVECTOR)
    async with (
        run_shard(postgres_url=pair.url, lease_seconds=3) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        probe = health_pb2_grpc.HealthServiceStub(channel)

        async def is_ready() -> bool:
            return (await probe.GetReadiness(health.GetReadinessRequest())).ready

        async def is_not_ready() -> bool:
            return not await is_ready()

        async with open_stream(channel) as stream:
            await stream.open()
            await stream.push(1, [PatternSpec(1)])

        await asyncio.to_thread(pair.make_primary_read_only)
        await wait_until(is_not_ready)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(WATCH_SECONDS):
                await wait_until(is_ready)
        async with open_stream(channel) as stream:
            await stream.open(last_acked_seq=1)
            await stream.send(delta=make_delta_message(2, [PatternSpec(2)]))
            assert await stream.wait_for_status() is grpc.StatusCode.UNAVAILABLE
        await asyncio.to_thread(pair.promote_standby)
        await wait_until(is_ready)

        async with open_stream(channel) as stream:
            await stream.open(last_acked_seq=1)
            assert (await stream.push(2, [PatternSpec(2)])).through_seq == 2
        await shard.manager.store.probe()
        assert await is_ready()
    assert pair.standby.execute("SELECT lsn, patterns FROM constellation.shard") == [(2, 2)]


async def test_an_active_federation_ends_when_its_server_takes_no_writes_any_more(
    pair: Pair,
) -> None:
    await migrations.migrate(pair.url, PGVECTOR)
    async with open_journal(None, pair.url) as journal:
        await journal.become_active()
        await journal.begin_round(make_pulling_round(1))
        await asyncio.to_thread(pair.make_primary_read_only)
        await asyncio.to_thread(pair.promote_standby)

        with pytest.raises(FencedError, match=r"the connection was lost.*it is read-only"):
            await journal.stay_active_forever()

    async with open_journal(None, pair.url) as journal:
        await journal.become_active()
        assert await journal.read_newest() == make_pulling_round(1)
        await journal.begin_round(make_pulling_round(1))
