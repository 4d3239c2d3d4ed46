"""One federation at a time may run rounds; the next one may once the first is gone."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from structlog.testing import capture_logs

from constellation.errors import (
    ConfigError,
    DamagedStoreError,
    FencedError,
    NotReadyError,
)
from constellation.storage.data_dir import lock_directory
from federation.journal.open import open_journal
from federation.journal.postgres import open_postgres_journal
from tests.federation.journal.samples import (
    JournalLocation,
    has_outcome,
    make_outcome,
    make_published_round,
    make_publishing_round,
    make_pulling_round,
    run_round,
)
from tests.polling import wait_until
from tests.proxy import LostCommit, Proxy, open_postgres_proxy
from tests.storage.postgres.stores import execute, wait_for_lock
from tests.storage.postgres.test_pgbouncer import PGBOUNCER, pooled_url  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from federation.journal.contract import Journal

HOLD_SCRIPT = """
import asyncio, sys
from pathlib import Path
from federation.journal.open import open_journal
async def main(data_dir, url):
    async with open_journal(Path(data_dir) if data_dir else None, url or None) as journal:
        await journal.become_active()
        print("taken", flush=True)
        await journal.stay_active_forever()
asyncio.run(main(*sys.argv[1:]))
"""
CUT_STATEMENT = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks"
    " WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


async def start_waiting(journal: Journal) -> asyncio.Task[None]:
    """Return a task that becomes active, once it waits for its turn."""
    with capture_logs() as logs:
        waiting = asyncio.create_task(journal.become_active())
        await wait_until(lambda: asyncio.sleep(0, bool(logs)))
    assert [line["event"] for line in logs] == ["waiting_for_active_federation"]
    assert not waiting.done()
    return waiting


@contextmanager
def run_child(location: JournalLocation) -> Iterator[subprocess.Popen[str]]:
    """Run a process whose journal is the active one."""
    command = [
        sys.executable,
        "-c",
        HOLD_SCRIPT,
        str(location.data_dir or ""),
        location.postgres_url or "",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            yield process
        finally:
            process.kill()


async def test_the_second_becomes_active_once_the_first_is_closed(
    shared_location: JournalLocation,
) -> None:
    async with shared_location.open() as second:
        async with shared_location.open() as first:
            await first.become_active()
            generation = await first.read_generation()
            waiting = await start_waiting(second)
            await run_round(first, 1, 7)
            with pytest.raises(NotReadyError):
                await second.begin_round(make_pulling_round(2))

        async with asyncio.timeout(5):
            await waiting

        assert await second.read_generation() == generation
        assert await second.read_newest() == make_published_round(1)
        await run_round(second, 2, 7)
        assert await has_outcome(second, make_outcome(2, 7))


async def test_the_second_becomes_active_once_the_first_is_killed(
    shared_location: JournalLocation,
) -> None:
    async with shared_location.open() as second:
        with run_child(shared_location) as process:
            waiting = await start_waiting(second)
            process.send_signal(signal.SIGKILL)

            async with asyncio.timeout(5):
                await waiting

        await run_round(second, 1)


async def test_a_federation_that_gave_up_waiting_lets_others_become_active(
    shared_location: JournalLocation,
) -> None:
    async with shared_location.open() as third, shared_location.open() as second:
        async with shared_location.open() as first:
            await first.become_active()
            waiting = await start_waiting(second)
            waiting.cancel()

        async with asyncio.timeout(5):
            await third.become_active()

        await run_round(third, 1)


async def test_a_cut_connection_fences_the_active_federation(postgres_url: str) -> None:
    location = JournalLocation(postgres_url=postgres_url)
    async with location.open() as second, location.open() as first:
        await first.become_active()
        await first.begin_round(make_pulling_round(1))
        holding = asyncio.create_task(first.stay_active_forever())
        waiting = await start_waiting(second)

        assert execute(postgres_url, CUT_STATEMENT) == [(True,)]

        async with asyncio.timeout(5):
            await waiting
        with pytest.raises(FencedError, match="the connection was lost"):
            await first.save_result(make_publishing_round(1), make_outcome(1, 7))
        for call in (
            first.begin_round(make_pulling_round(1)),
            first.delete_aggregates([7]),
            first.read_newest(),
        ):
            with pytest.raises(FencedError):
                await call
        async with asyncio.timeout(5):
            with pytest.raises(FencedError):
                await holding
        assert await second.read_newest() == make_pulling_round(1)
        assert await second.read_aggregates() == {}


async def test_a_cut_connection_is_noticed_without_a_write(postgres_url: str) -> None:
    async with open_journal(None, postgres_url) as journal:
        await journal.become_active()
        holding = asyncio.create_task(journal.stay_active_forever())

        execute(postgres_url, CUT_STATEMENT)

        async with asyncio.timeout(10):
            with pytest.raises(FencedError):
                await holding


async def test_a_locked_table_does_not_fence_the_active_federation(postgres_url: str) -> None:
    probed = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle' AND query LIKE 'SELECT pg_is_in_recovery%'"
    )
    async with (
        open_journal(None, postgres_url) as journal,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        await journal.become_active()
        await blocker.execute("LOCK TABLE constellation.federation")
        holding = asyncio.create_task(journal.stay_active_forever())

        await wait_until(lambda: asyncio.to_thread(execute, postgres_url, probed))

        assert not holding.done()
        await journal.begin_round(make_pulling_round(1))
        holding.cancel()


async def test_a_federation_that_waits_ends_with_its_connection(postgres_url: str) -> None:
    async with open_journal(None, postgres_url) as journal:
        execute(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )

        with pytest.raises(NotReadyError):
            await journal.become_active()


@pytest.mark.parametrize("answered", [False, True])
async def test_a_lost_commit_is_complete_or_did_not_happen(
    proxied_journal: tuple[Proxy, Journal], postgres_url: str, *, answered: bool
) -> None:
    proxy, first = proxied_journal
    await first.become_active()
    await run_round(first, 1, 7)
    await first.begin_round(make_pulling_round(2))
    proxy.lost_commit = LostCommit(b"round_result", is_executed=answered)

    with pytest.raises(FencedError):
        await first.save_result(make_publishing_round(2), make_outcome(2, 7))

    async with open_journal(None, postgres_url) as second:
        await second.become_active()
        saved = await has_outcome(second, make_outcome(2, 7))
        assert saved or await has_outcome(second, make_outcome(1, 7))
        assert await second.read_newest() == (
            make_publishing_round(2) if saved else make_pulling_round(2)
        )
        assert saved == answered


async def test_a_server_that_hangs_is_cut_off(proxied_journal: tuple[Proxy, Journal]) -> None:
    proxy, journal = proxied_journal
    await journal.become_active()
    holding = asyncio.create_task(journal.stay_active_forever())
    proxy.pause()

    with pytest.raises(FencedError):
        await journal.begin_round(make_pulling_round(1))
    with pytest.raises(FencedError):
        await holding


@pytest.fixture
async def proxied_journal(postgres_url: str) -> AsyncIterator[tuple[Proxy, Journal]]:
    """A journal that reaches its database through a proxy, and is impatient."""
    async with (
        open_postgres_proxy(postgres_url) as (proxy, url),
        open_postgres_journal(url, statement_timeout_seconds=1) as journal,
    ):
        yield proxy, journal


async def test_a_cancelled_save_leaves_nothing(postgres_url: str) -> None:
    async with (
        open_journal(None, postgres_url) as journal,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        await journal.become_active()
        await run_round(journal, 1, 7)
        await journal.begin_round(make_pulling_round(2))
        await blocker.execute("LOCK TABLE constellation.round_aggregate")
        saving = asyncio.create_task(
            journal.save_result(make_publishing_round(2), make_outcome(2, 7))
        )
        await wait_for_lock(postgres_url, "round_aggregate")

        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving
        await blocker.rollback()

        assert await journal.read_newest() == make_pulling_round(2)
        assert await has_outcome(journal, make_outcome(1, 7))
        await journal.save_result(make_publishing_round(2), make_outcome(2, 7))
        assert await has_outcome(journal, make_outcome(2, 7))


async def test_a_refused_write_leaves_the_federation_active(postgres_url: str) -> None:
    async with open_journal(None, postgres_url) as journal:
        await journal.become_active()
        await journal.begin_round(make_pulling_round(1))
        async with await psycopg.AsyncConnection.connect(postgres_url) as blocker:
            await blocker.execute("LOCK TABLE constellation.round_result")
            saving = asyncio.create_task(
                journal.save_result(make_publishing_round(1), make_outcome(1, 7))
            )
            await wait_for_lock(postgres_url, "round_result")
            execute(
                postgres_url,
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            with pytest.raises(NotReadyError, match="did not run the statement"):
                await saving

        assert await journal.read_newest() == make_pulling_round(1)
        await journal.save_result(make_publishing_round(1), make_outcome(1, 7))


async def test_a_lost_schema_is_reported_before_anything_is_done(postgres_url: str) -> None:
    execute(postgres_url, "DELETE FROM constellation.migration WHERE version >= 3")

    with pytest.raises(ConfigError, match="run `constellation migrate`"):
        async with open_journal(None, postgres_url):
            pass


@pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")
async def test_a_pooler_is_refused(request: pytest.FixtureRequest) -> None:
    """A pooler would hand the session that has the lock to other clients."""
    url = request.getfixturevalue("pooled_url")

    async def refused() -> bool:
        try:
            async with open_journal(None, url):
                return False
        except NotReadyError:  # it has not started yet
            return False

    with pytest.raises(ConfigError, match=r"is a connection pooler, .* PostgreSQL itself"):
        await wait_until(refused)


async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async with open_journal(tmp_path / "file" / "data", None) as journal:
        with pytest.raises(ConfigError, match=r"DATA_DIR=.* cannot be written"):
            await journal.become_active()


async def test_a_file_that_cannot_be_opened_leaves_the_directory_free(tmp_path: Path) -> None:
    (tmp_path / "federation.db").write_bytes(b"something else entirely")

    async with open_journal(tmp_path, None) as journal:
        for _ in range(2):
            with pytest.raises(DamagedStoreError, match=r"federation.db is damaged .* new journal"):
                await journal.become_active()
        with lock_directory(tmp_path):
            pass
