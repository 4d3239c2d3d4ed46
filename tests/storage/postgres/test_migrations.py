"""Migrations, and databases with another schema, without one, or of the wrong kind."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest

from constellation.core.rows import TermKind
from constellation.core.store import CommitWrites, Term, Totals
from constellation.errors import (
    ConfigError,
    ConstellationError,
    NotReadyError,
)
from constellation.storage.postgres import migrations
from constellation.storage.postgres.dialect import PGVECTOR
from constellation.storage.postgres.store import open_postgres, open_postgres_reader
from tests.storage.postgres.stores import execute, make_settings
from tests.storage.samples import (
    make_commit,
    make_content,
    make_device_rows,
    make_hourly_counts,
    make_pattern_rows,
    read_patterns,
    to_slots,
)

if TYPE_CHECKING:
    from tests.databases import Databases

NEWEST = len(migrations.load_migrations())


def set_search_path(url: str, search_path: str) -> None:
    """Set the search_path of every later connection to a database."""
    ((name,),) = execute(url, "SELECT quote_ident(current_database())")
    execute(url, f"ALTER DATABASE {name} SET search_path = {search_path}")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "DELETE FROM constellation.migration",
            f"has schema 0, but this program needs schema {NEWEST}: run",
        ),
        (
            "DELETE FROM constellation.migration WHERE version = 2",
            f"lacks migration 2, but has migration {NEWEST}: constellation.migration was changed",
        ),
        (
            "INSERT INTO constellation.migration VALUES (77, '0077_later.sql')",
            f"has schema 77, but this program supports only schemas up to {NEWEST}: start",
        ),
        (
            (
                "DROP VIEW constellation.readable_pattern;"
                "ALTER TABLE constellation.pattern ALTER embedding TYPE halfvec(128)"
            ),
            r"stores embeddings as halfvec\(128\), but this program needs halfvec\(384\)",
        ),
        (
            "DROP SCHEMA constellation CASCADE",
            f"has schema 0, but this program needs schema {NEWEST}",
        ),
    ],
)
async def test_another_schema_is_refused(postgres_url: str, statement: str, message: str) -> None:
    execute(postgres_url, statement)

    with pytest.raises(ConfigError, match=message):
        async with open_postgres(make_settings(postgres_url)):
            pass


async def test_a_user_without_privileges_is_told(postgres_url: str) -> None:
    name = f"guest_{uuid.uuid4().hex}"
    user = psycopg.conninfo.make_conninfo(postgres_url, user=name, password="guest")  # noqa: S106
    execute(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD 'guest'")
    try:
        with pytest.raises(ConfigError, match=r"refused: permission denied .*Grant this user"):
            async with open_postgres(make_settings(user)):
                pass
    finally:
        execute(postgres_url, f"DROP ROLE {name}")


async def test_a_database_that_is_not_utf8_is_refused(databases: Databases) -> None:
    name = f"latin_{uuid.uuid4().hex}"
    admin = databases.url("postgres")
    execute(admin, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(ConfigError, match="has the encoding LATIN1"):
            await migrations.migrate(databases.url(name), PGVECTOR)
    finally:
        databases.drop(name)


@pytest.mark.parametrize("search_path", ['"$user", public', "''", "nowhere"])
async def test_the_extension_may_be_in_any_schema(databases: Databases, search_path: str) -> None:
    with databases.open_database(template="template1") as url:
        execute(url, 'DROP EXTENSION IF EXISTS vector; CREATE SCHEMA "Its extensions"')
        execute(url, 'CREATE EXTENSION vector SCHEMA "Its extensions"')
        set_search_path(url, search_path)

        await migrations.migrate(url, PGVECTOR)

        writes = make_commit(1, to_slots(0, 5))
        async with open_postgres(make_settings(url)) as store:
            epoch = await store.take_epoch()
            await store.commit(epoch, writes)
            await store.put_contents(epoch, [make_content("film:1")], [], 0)
        async with open_postgres_reader(make_settings(url)) as reader:
            assert await read_patterns(reader) == {
                slot: row.tobytes() for slot, row in zip((0, 5), writes.rows, strict=True)
            }
            assert await reader.get_content("film:1") == make_content("film:1")
            assert await reader.verify() == ()


async def test_an_extension_is_created_though_the_search_path_names_no_schema(
    databases: Databases,
) -> None:
    with databases.open_database(template="template1") as url:
        execute(url, "DROP EXTENSION IF EXISTS vector")
        set_search_path(url, "nowhere")

        await migrations.migrate(url, PGVECTOR)

        assert execute(
            url,
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'",
        ) == [("public",)]


async def test_the_planned_sql_names_the_schema_of_the_extension(databases: Databases) -> None:
    with databases.open_database(template="template1") as url:
        execute(url, "DROP EXTENSION IF EXISTS vector")
        before = await migrations.find_dialect(url, PGVECTOR)
        execute(url, "CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions")

        after = await migrations.find_dialect(url, PGVECTOR)

        assert before.vector_type == "halfvec(384)"
        assert after.vector_type == '"extensions".halfvec(384)'


async def test_migrating_at_once_from_two_places_applies_each_file_once(
    databases: Databases,
) -> None:
    with databases.open_database(template="template1") as url:
        done = await asyncio.gather(*(migrations.migrate(url, PGVECTOR) for _ in range(2)))

        assert sorted(len(each) for each in done) == [0, len(migrations.load_migrations())]
        assert [each.version for each in await migrations.list_applied(url)] == list(
            range(1, NEWEST + 1)
        )


async def test_a_migration_that_fails_leaves_nothing(databases: Databases) -> None:
    with databases.open_database(template="template1") as url:
        execute(url, "CREATE SCHEMA constellation")
        execute(url, "CREATE TABLE constellation.change (something integer)")

        with pytest.raises((psycopg.Error, ConstellationError)):
            await migrations.migrate(url, PGVECTOR)

        assert list(await migrations.list_applied(url)) == []
        assert execute(url, "SELECT count(*) FROM pg_class WHERE relname = 'shard'") == [(0,)]


async def test_a_migration_does_not_hold_up_commits_behind_a_dump(postgres_url: str) -> None:
    execute(postgres_url, "DELETE FROM constellation.migration WHERE version > 5")
    async with await psycopg.AsyncConnection.connect(postgres_url) as dump:
        await dump.execute("SELECT count(*) FROM constellation.shard")

        with pytest.raises(NotReadyError, match="lock timeout"):
            await migrations.migrate(postgres_url, PGVECTOR)


async def test_counts_of_the_first_schema_become_counts_of_contents(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.load_migrations()
    with databases.open_database(template="template1") as url:
        with monkeypatch.context() as patched:
            patched.setattr(migrations, "load_migrations", lambda: known[:1])
            await migrations.migrate(url, PGVECTOR)
        execute(
            url,
            "INSERT INTO constellation.hourly_count (shard_id, hour, content, devices)"
            " VALUES (0, 10, 1, 5), (0, 11, 2, 6), (7, 10, 1, 9)",
        )

        applied = await migrations.migrate(url, PGVECTOR)

        assert [each.version for each in applied] == list(range(2, NEWEST + 1))
        async with open_postgres(make_settings(url)) as store:
            found = await store.read_hourly_counts()
            epoch = await store.take_epoch()
            counts = make_hourly_counts((10, TermKind.GENRE, 1, 3), (11, TermKind.CONTENT, 2, 8))
            await store.commit(epoch, CommitWrites(Totals(1), counts=counts))
        assert sorted(
            zip(found.hours.tolist(), found.kinds.tolist(), found.numbers.tolist(), strict=True)
        ) == [(10, 2, 1), (11, 2, 2)]
        kept = "SELECT hour, kind, number, devices FROM constellation.hourly_count"
        assert execute(url, f"{kept} WHERE shard_id = 0 ORDER BY 1, 2") == [
            (10, 1, 1, 3),
            (10, 2, 1, 5),
            (11, 2, 2, 8),
        ]


async def test_terms_keep_their_numbers_and_patterns_are_readable_after_the_rename(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.load_migrations()
    with databases.open_database(template="template1") as url:
        with monkeypatch.context() as patched:
            patched.setattr(migrations, "load_migrations", lambda: known[:3])
            await migrations.migrate(url, PGVECTOR)
        execute(
            url,
            "INSERT INTO constellation.word (shard_id, kind, number, text)"
            " VALUES (0, 1, 1, 'drama'), (0, 2, 1, 'film:1'), (0, 2, 2, 'film:2')",
        )

        await migrations.migrate(url, PGVECTOR)

        async with open_postgres(make_settings(url)) as store:
            epoch = await store.take_epoch()
            row = make_pattern_rows(1)
            row["device"], row["time_of_day"], row["day_type"], row["content_type"] = 0, 3, 1, 2
            row["genres"], row["contents"] = 0, 0
            row["genres"][0, 0], row["contents"][0, :2] = 1, (2, 1)
            writes = CommitWrites(
                Totals(1),
                slots=to_slots(0),
                rows=row,
                device_slots=to_slots(0),
                device_rows=make_device_rows(1),
                terms=[Term(TermKind.GENRE, 2, "noir")],
            )
            await store.commit(epoch, writes)
            terms = [(term.kind, term.number, term.text) for term in await store.read_terms()]
        assert terms == [(1, 1, "drama"), (1, 2, "noir"), (2, 1, "film:1"), (2, 2, "film:2")]
        assert execute(
            url, "SELECT time_of_day, genres, content_ids FROM constellation.readable_pattern"
        ) == [("evening", ["drama"], ["film:1", "film:2"])]
        assert execute(url, "SELECT constellation.unpack_numbers('\\x0200000001000000', 4)") == [
            ([2, 1],)
        ]
