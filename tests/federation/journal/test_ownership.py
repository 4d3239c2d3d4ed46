"""Who may run rounds: one federation at a time, and the next one once it is gone."""

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
from constellation.storage.data_dir import held
from federation.journal.open import open_journal
from federation.journal.postgres import open_postgres
from tests.federation.journal.samples import (
    Place,
    holds,
    outcome,
    published,
    publishing,
    pulling,
    run_round,
)
from tests.polling import eventually
from tests.proxy import LostCommit, Proxy
from tests.storage.postgres.stores import run, until_waiting
from tests.storage.postgres.test_pgbouncer import PROGRAM, pooled_url  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from federation.journal.contract import Journal

HOLD = """
import asyncio, sys
from pathlib import Path
from federation.journal.open import open_journal
async def main(data_dir, url):
    async with open_journal(Path(data_dir) if data_dir else None, url or None) as journal:
        await journal.take()
        print("taken", flush=True)
        await journal.hold_forever()
asyncio.run(main(*sys.argv[1:]))
"""
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks"
    " WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


async def waiting_for(journal: Journal) -> asyncio.Task[None]:
    """Return the task that takes a journal, once it waits."""
    with capture_logs() as logs:
        waiting = asyncio.create_task(journal.take())
        await eventually(lambda: asyncio.sleep(0, bool(logs)))
    assert [line["event"] for line in logs] == ["federation_awaited"]
    assert not waiting.done()
    return waiting


@contextmanager
def child(place: Place) -> Iterator[subprocess.Popen[str]]:
    """Run a federation's journal in a process of its own; it is taken."""
    command = [
        sys.executable,
        "-c",
        HOLD,
        str(place.data_dir or ""),
        place.postgres_url or "",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            yield process
        finally:
            process.kill()


async def test_the_second_gets_in_once_the_first_is_left(shared_place: Place) -> None:
    async with shared_place.open() as second:
        async with shared_place.open() as first:
            await first.take()
            generation = await first.generation()
            waiting = await waiting_for(second)
            await run_round(first, 1, 7)
            with pytest.raises(NotReadyError):
                await second.begin(pulling(2))

        async with asyncio.timeout(5):
            await waiting

        assert await second.generation() == generation
        assert await second.newest() == published(1)
        await run_round(second, 2, 7)
        assert await holds(second, outcome(2, 7))


async def test_the_second_gets_in_once_the_first_is_killed(shared_place: Place) -> None:
    async with shared_place.open() as second:
        with child(shared_place) as process:
            waiting = await waiting_for(second)
            process.send_signal(signal.SIGKILL)

            async with asyncio.timeout(5):
                await waiting

        await run_round(second, 1)


async def test_who_gave_up_waiting_lets_others_in(shared_place: Place) -> None:
    async with shared_place.open() as third, shared_place.open() as second:
        async with shared_place.open() as first:
            await first.take()
            waiting = await waiting_for(second)
            waiting.cancel()

        async with asyncio.timeout(5):
            await third.take()

        await run_round(third, 1)


async def test_a_cut_connection_ends_the_turn(postgres_url: str) -> None:
    place = Place(postgres_url=postgres_url)
    async with place.open() as second, place.open() as first:
        await first.take()
        await first.begin(pulling(1))
        holding = asyncio.create_task(first.hold_forever())
        waiting = await waiting_for(second)

        assert run(postgres_url, CUT) == [(True,)]

        async with asyncio.timeout(5):
            await waiting
        with pytest.raises(FencedError, match="the connection was lost"):
            await first.settle(publishing(1), outcome(1, 7))
        for call in (first.begin(pulling(1)), first.forget_aggregates([7]), first.newest()):
            with pytest.raises(FencedError):
                await call
        async with asyncio.timeout(5):
            with pytest.raises(FencedError):
                await holding
        assert await second.newest() == pulling(1)
        assert await second.aggregates() == {}


async def test_a_cut_connection_is_found_out_without_a_write(postgres_url: str) -> None:
    async with open_journal(None, postgres_url) as journal:
        await journal.take()
        holding = asyncio.create_task(journal.hold_forever())

        run(postgres_url, CUT)

        async with asyncio.timeout(10):
            with pytest.raises(FencedError):
                await holding


async def test_a_locked_table_does_not_end_the_turn(postgres_url: str) -> None:
    probed = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle' AND query = 'SELECT 1'"
    )
    async with (
        open_journal(None, postgres_url) as journal,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        await journal.take()
        await blocker.execute("LOCK TABLE constellation.federation")
        holding = asyncio.create_task(journal.hold_forever())

        await eventually(lambda: asyncio.to_thread(run, postgres_url, probed))

        assert not holding.done()
        await journal.begin(pulling(1))
        holding.cancel()


async def test_a_federation_that_waits_ends_with_its_connection(postgres_url: str) -> None:
    async with open_journal(None, postgres_url) as journal:
        run(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )

        with pytest.raises(NotReadyError):
            await journal.take()


@pytest.mark.parametrize("answered", [False, True])
async def test_a_lost_commit_is_whole_or_nothing(
    through_proxy: tuple[Proxy, Journal], postgres_url: str, *, answered: bool
) -> None:
    proxy, first = through_proxy
    await first.take()
    await run_round(first, 1, 7)
    await first.begin(pulling(2))
    proxy.lost_commit = LostCommit(b"round_result", answered=answered)

    with pytest.raises(FencedError):
        await first.settle(publishing(2), outcome(2, 7))

    async with open_journal(None, postgres_url) as second:
        await second.take()
        settled = await holds(second, outcome(2, 7))
        assert settled or await holds(second, outcome(1, 7))
        assert await second.newest() == (publishing(2) if settled else pulling(2))
        assert settled == answered


async def test_a_server_that_hangs_is_cut_off(through_proxy: tuple[Proxy, Journal]) -> None:
    proxy, journal = through_proxy
    await journal.take()
    holding = asyncio.create_task(journal.hold_forever())
    proxy.pause()

    with pytest.raises(FencedError):
        await journal.begin(pulling(1))
    with pytest.raises(FencedError):
        await holding


@pytest.fixture
async def through_proxy(postgres_url: str) -> AsyncIterator[tuple[Proxy, Journal]]:
    """A journal that reaches its database through a proxy, and is impatient."""
    parts = psycopg.conninfo.conninfo_to_dict(postgres_url)
    async with Proxy.open(str(parts["host"]), int(str(parts["port"]))) as proxy:
        url = psycopg.conninfo.make_conninfo(postgres_url, port=proxy.port, sslmode="disable")
        async with open_postgres(url, answer_seconds=1) as journal:
            yield proxy, journal


async def test_a_cancelled_settle_leaves_nothing(postgres_url: str) -> None:
    async with (
        open_journal(None, postgres_url) as journal,
        await psycopg.AsyncConnection.connect(postgres_url) as blocker,
    ):
        await journal.take()
        await run_round(journal, 1, 7)
        await journal.begin(pulling(2))
        await blocker.execute("LOCK TABLE constellation.round_aggregate")
        settling = asyncio.create_task(journal.settle(publishing(2), outcome(2, 7)))
        await until_waiting(postgres_url, "round_aggregate")

        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        await blocker.rollback()

        assert await journal.newest() == pulling(2)
        assert await holds(journal, outcome(1, 7))
        await journal.settle(publishing(2), outcome(2, 7))
        assert await holds(journal, outcome(2, 7))


async def test_a_refused_write_leaves_the_federation_active(postgres_url: str) -> None:
    async with open_journal(None, postgres_url) as journal:
        await journal.take()
        await journal.begin(pulling(1))
        async with await psycopg.AsyncConnection.connect(postgres_url) as blocker:
            await blocker.execute("LOCK TABLE constellation.round_result")
            settling = asyncio.create_task(journal.settle(publishing(1), outcome(1, 7)))
            await until_waiting(postgres_url, "round_result")
            run(
                postgres_url,
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            with pytest.raises(NotReadyError, match="did not do it"):
                await settling

        assert await journal.newest() == pulling(1)
        await journal.settle(publishing(1), outcome(1, 7))


async def test_a_lost_schema_is_reported_before_anything_is_done(postgres_url: str) -> None:
    run(postgres_url, "DELETE FROM constellation.migration WHERE version = 3")

    with pytest.raises(ConfigError, match="run `constellation migrate`"):
        async with open_journal(None, postgres_url):
            pass


@pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")
async def test_a_pooler_is_refused(request: pytest.FixtureRequest) -> None:
    """It would hand the session that has the lock to somebody else."""
    url = request.getfixturevalue("pooled_url")

    async def refused() -> bool:
        try:
            async with open_journal(None, url):
                return False
        except NotReadyError:  # it has not started yet
            return False

    with pytest.raises(ConfigError, match=r"is a connection pooler, .* PostgreSQL itself"):
        await eventually(refused)


async def test_the_server_finds_out_soon_that_a_machine_is_gone(postgres_url: str) -> None:
    async with open_postgres(postgres_url) as journal:
        await journal.take()
        async with journal._session.read():
            rows = await journal._session.rows("SHOW tcp_keepalives_idle")

    assert rows in ([("10",)], [("0",)])  # 0 where the server is reached by a socket in a file


async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async with open_journal(tmp_path / "file" / "data", None) as journal:
        with pytest.raises(ConfigError, match=r"DATA_DIR=.* cannot be written"):
            await journal.take()


async def test_a_file_that_cannot_be_opened_leaves_the_directory_free(tmp_path: Path) -> None:
    (tmp_path / "federation.db").write_bytes(b"something else entirely")

    async with open_journal(tmp_path, None) as journal:
        for _ in range(2):
            with pytest.raises(DamagedStoreError, match=r"federation.db is damaged .* new journal"):
                await journal.take()
        with held(tmp_path):
            pass
