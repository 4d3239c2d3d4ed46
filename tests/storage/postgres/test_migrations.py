"""Databases that have another schema, or none, or are of the wrong kind."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest

from constellation.core.rows import WordKind
from constellation.core.store import Changes, Totals
from constellation.errors import (
    ConfigError,
    ConstellationError,
)
from constellation.storage.postgres import migrations
from constellation.storage.postgres.dialect import PGVECTOR
from constellation.storage.postgres.store import open_postgres
from tests.storage.postgres.stores import run, settings
from tests.storage.samples import hourly

if TYPE_CHECKING:
    from tests.databases import Databases

NEWEST = len(migrations.known())


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM constellation.migration", f"has schema 0, this program needs {NEWEST}: run"),
        (
            "INSERT INTO constellation.migration VALUES (77, '0077_later.sql')",
            f"has schema 77, this program knows {NEWEST}: start the newer version",
        ),
        (
            (
                "DROP VIEW constellation.readable_pattern;"
                "ALTER TABLE constellation.pattern ALTER embedding TYPE halfvec(128)"
            ),
            r"stores embeddings as halfvec\(128\), this program needs halfvec\(384\)",
        ),
        ("DROP SCHEMA constellation CASCADE", f"has schema 0, this program needs {NEWEST}"),
    ],
)
async def test_another_schema_is_refused(postgres_url: str, statement: str, message: str) -> None:
    run(postgres_url, statement)

    with pytest.raises(ConfigError, match=message):
        async with open_postgres(settings(postgres_url)):
            pass


async def test_a_user_without_privileges_is_told(postgres_url: str) -> None:
    name = f"guest_{uuid.uuid4().hex}"
    user = psycopg.conninfo.make_conninfo(postgres_url, user=name, password="guest")  # noqa: S106
    run(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD 'guest'")
    try:
        with pytest.raises(ConfigError, match=r"refused: permission denied .*Grant this user"):
            async with open_postgres(settings(user)):
                pass
    finally:
        run(postgres_url, f"DROP ROLE {name}")


async def test_a_database_that_is_not_utf8_is_refused(databases: Databases) -> None:
    name = f"latin_{uuid.uuid4().hex}"
    admin = databases.url("postgres")
    run(admin, f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(ConfigError, match="has the encoding LATIN1"):
            await migrations.migrate(databases.url(name), PGVECTOR)
    finally:
        databases.drop(name)


async def test_migrating_at_once_from_two_places_applies_each_file_once(
    databases: Databases,
) -> None:
    with databases.one(template="template1") as url:
        done = await asyncio.gather(*(migrations.migrate(url, PGVECTOR) for _ in range(2)))

        assert sorted(len(each) for each in done) == [0, len(migrations.known())]
        assert [each.version for each in await migrations.status(url)] == list(range(1, NEWEST + 1))


async def test_a_migration_that_fails_leaves_nothing(databases: Databases) -> None:
    with databases.one(template="template1") as url:
        run(url, "CREATE SCHEMA constellation")
        run(url, "CREATE TABLE constellation.change (something integer)")

        with pytest.raises((psycopg.Error, ConstellationError)):
            await migrations.migrate(url, PGVECTOR)

        assert list(await migrations.status(url)) == []
        assert run(url, "SELECT count(*) FROM pg_class WHERE relname = 'shard'") == [(0,)]


async def test_counts_of_the_first_schema_become_counts_of_contents(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = migrations.known()
    with databases.one(template="template1") as url:
        with monkeypatch.context() as patched:
            patched.setattr(migrations, "known", lambda: known[:1])
            await migrations.migrate(url, PGVECTOR)
        run(
            url,
            "INSERT INTO constellation.hourly_count (shard_id, hour, content, devices)"
            " VALUES (0, 10, 1, 5), (0, 11, 2, 6), (7, 10, 1, 9)",
        )

        applied = await migrations.migrate(url, PGVECTOR)

        assert [each.version for each in applied] == list(range(2, NEWEST + 1))
        async with open_postgres(settings(url)) as store:
            found = await store.counts()
            epoch = await store.take_epoch()
            counts = hourly((10, WordKind.GENRE, 1, 3), (11, WordKind.CONTENT, 2, 8))
            await store.commit(epoch, Changes(Totals(1), counts=counts))
        assert sorted(
            zip(found.hours.tolist(), found.kinds.tolist(), found.numbers.tolist(), strict=True)
        ) == [(10, 2, 1), (11, 2, 2)]
        kept = "SELECT hour, kind, number, devices FROM constellation.hourly_count"
        assert run(url, f"{kept} WHERE shard_id = 0 ORDER BY 1, 2") == [
            (10, 1, 1, 3),
            (10, 2, 1, 5),
            (11, 2, 2, 8),
        ]
