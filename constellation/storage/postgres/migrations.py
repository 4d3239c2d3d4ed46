"""Migrations: numbered SQL files, each applied once, in order, under a lock.

A file that was released is never edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

import structlog
from psycopg import errors, sql

from constellation.errors import ConfigError
from constellation.storage.postgres.errors import describe_database, translate_errors
from constellation.storage.postgres.pool import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from constellation.storage.postgres.dialect import Dialect

log = structlog.get_logger(__name__)

_LOCK_KEY: Final = 0x434F4E5354454C4C
"""Key of the advisory lock that a process has while it migrates."""

_LIMIT_LOCK_WAIT: Final = "SET LOCAL lock_timeout = '3s'"
"""A table that a dump or an export reads cannot be altered, and every commit queues behind this."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file of this program."""

    version: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """One migration that was applied to the database."""

    version: int
    name: str
    applied_at: str
    """When it was applied, in UTC, as ISO 8601."""


def load_migrations() -> Sequence[Migration]:
    """Return the migrations of this program, in order."""
    folder = resources.files("constellation.storage.postgres").joinpath("schema")
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    migrations = [
        Migration(int(file.name.partition("_")[0]), file.name, file.read_text("utf-8"))
        for file in files
    ]
    assert [each.version for each in migrations] == list(range(1, len(migrations) + 1))
    return migrations


async def migrate(url: str, dialect: Dialect) -> Sequence[Migration]:
    """Apply the migrations that the database lacks, all or nothing, and return them.

    Raises ConfigError when the schema is newer than this program, or when the extension or a
    privilege is missing. Raises NotReadyError when the database does not answer.
    """
    database = describe_database(url)
    async with await connect(url, database) as connection:
        with translate_errors(database):
            await connection.execute("BEGIN")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
            await _require_utf8(connection, database)
            found = await _ensure_extension(connection, database, dialect)
            missing = find_missing(database, await read_applied(connection))
            await connection.execute(_LIMIT_LOCK_WAIT)
            await connection.execute("CREATE SCHEMA IF NOT EXISTS constellation")
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS constellation.migration ("
                " version integer PRIMARY KEY, name text NOT NULL,"
                " applied_at timestamptz NOT NULL DEFAULT now())"
            )
            for migration in missing:
                await connection.execute(render_sql(migration, found).encode())
                await connection.execute(
                    "INSERT INTO constellation.migration (version, name) VALUES (%s, %s)",
                    (migration.version, migration.name),
                )
            await connection.execute("COMMIT")
    for migration in missing:
        log.info("migration_applied", version=migration.version, name=migration.name)
    return missing


async def list_applied(url: str) -> Sequence[AppliedMigration]:
    """Return the migrations that were applied to a database, in order."""
    database = describe_database(url)
    async with await connect(url, database) as connection:
        with translate_errors(database):
            return await read_applied(connection)


async def find_dialect(url: str, dialect: Dialect) -> Dialect:
    """Return the dialect with the schema of its extension, or as it is without the extension."""
    database = describe_database(url)
    async with await connect(url, database) as connection:
        with translate_errors(database):
            schema = (await _read_extension(connection, dialect)).schema
    return dialect if schema is None else dialect.qualify(schema)


def render_sql(migration: Migration, dialect: Dialect) -> str:
    """Return the SQL of a migration for one vector extension."""
    return migration.text.replace("{vector}", dialect.vector_type)


async def read_applied(connection: psycopg.AsyncConnection) -> Sequence[AppliedMigration]:
    """Return the migrations that were applied to the database of a connection, in order."""
    cursor = await connection.execute("SELECT to_regclass('constellation.migration') IS NOT NULL")
    if await cursor.fetchone() != (True,):
        return ()
    cursor = await connection.execute(
        "SELECT version, name, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SSZ')"
        " FROM constellation.migration ORDER BY version"
    )
    return [AppliedMigration(*row) for row in await cursor.fetchall()]


def find_missing(
    database: str, applied_migrations: Sequence[AppliedMigration]
) -> Sequence[Migration]:
    """Return the migrations that are still to be applied.

    Raises ConfigError when the database has more migrations than this program, and when it lacks
    one but has a later one.
    """
    ours = load_migrations()
    newest = applied_migrations[-1].version if applied_migrations else 0
    if newest > len(ours):
        raise ConfigError(
            f"{database} has schema {newest}, but this program supports only schemas up to "
            f"{len(ours)}: start the newer version of the program"
        )
    if gap := set(range(1, newest)) - {each.version for each in applied_migrations}:
        raise ConfigError(
            f"{database} lacks migration {', '.join(map(str, sorted(gap)))}, but has migration "
            f"{newest}: constellation.migration was changed or restored in part; restore it from a "
            "backup"
        )
    return ours[newest:]


async def require_current_schema(
    connection: psycopg.AsyncConnection, database: str, dialect: Dialect
) -> Dialect:
    """Return the dialect with the schema of its extension.

    Raises ConfigError unless the database has the tables that this program needs.
    """
    await _require_utf8(connection, database)
    missing = find_missing(database, await read_applied(connection))
    if missing:
        raise ConfigError(
            f"{database} has schema {missing[0].version - 1}, but this program needs schema "
            f"{missing[-1].version}: run `constellation migrate`, or set MIGRATE_ON_START=1"
        )
    cursor = await connection.execute(
        "SELECT format_type(atttypid, atttypmod), nspname FROM pg_attribute"
        " JOIN pg_type ON pg_type.oid = atttypid"
        " JOIN pg_namespace ON pg_namespace.oid = typnamespace"
        " WHERE attrelid = to_regclass('constellation.pattern') AND attname = 'embedding'"
    )
    stored_type, schema = await cursor.fetchone() or ("no type", "")
    stored_type = stored_type.rpartition(".")[2]
    if stored_type != dialect.column_type:
        raise ConfigError(
            f"{database} stores embeddings as {stored_type}, but this program needs "
            f"{dialect.column_type}: check VECTOR_EXTENSION, and that this is the right database"
        )
    return dialect.qualify(schema)


async def _require_utf8(connection: psycopg.AsyncConnection, database: str) -> None:
    cursor = await connection.execute("SHOW server_encoding")
    row = await cursor.fetchone()
    if row != ("UTF8",):
        encoding = row[0] if row else "unknown"
        raise ConfigError(
            f"{database} has the encoding {encoding}, but titles need UTF8: "
            "create a database with ENCODING 'UTF8' TEMPLATE template0"
        )


@dataclass(frozen=True, slots=True)
class _Extension:
    """What a database says about a vector extension."""

    schema: str | None
    """Where its type is; None when there is no such type."""
    version: str | None
    """None when the extension was not created."""
    available_version: str | None
    """What the server could create; None when the extension is not installed there."""


async def _read_extension(connection: psycopg.AsyncConnection, dialect: Dialect) -> _Extension:
    """Find the type of the extension in any schema, or another type of its name that is visible."""
    cursor = await connection.execute(
        "SELECT (SELECT nspname FROM pg_type"
        "   JOIN pg_namespace ON pg_namespace.oid = typnamespace"
        "   LEFT JOIN pg_depend ON classid = 'pg_type'::regclass AND objid = pg_type.oid"
        "     AND deptype = 'e' AND refclassid = 'pg_extension'::regclass"
        "     AND refobjid = (SELECT oid FROM pg_extension WHERE extname = %(extension)s)"
        "   WHERE typname = %(type)s AND (refobjid IS NOT NULL OR pg_type_is_visible(pg_type.oid))"
        "   ORDER BY refobjid IS NULL LIMIT 1),"
        " (SELECT extversion FROM pg_extension WHERE extname = %(extension)s),"
        " (SELECT default_version FROM pg_available_extensions WHERE name = %(extension)s)",
        {"extension": dialect.extension, "type": dialect.type_name},
    )
    row = await cursor.fetchone()
    assert row is not None
    return _Extension(*row)


async def _ensure_extension(
    connection: psycopg.AsyncConnection, database: str, dialect: Dialect
) -> Dialect:
    """Create the extension unless it exists. Return the dialect with the schema where it is.

    Raises ConfigError when the extension is missing or too old.
    """
    found = await _read_extension(connection, dialect)
    if found.schema is None and found.version is None:
        if found.available_version is None:
            raise ConfigError(
                f"{database} does not have the extension {dialect.extension} available: "
                "install it on that server"
            )
        await _create_extension(connection, database, dialect.extension)
        found = await _read_extension(connection, dialect)
    numbers = tuple(int(part) for part in (found.version or "").split(".") if part.isdigit())
    if found.version is not None and numbers < dialect.minimum_version:
        oldest = ".".join(map(str, dialect.minimum_version))
        raise ConfigError(
            f"{database} has {dialect.extension} {found.version}, but {oldest} or newer is "
            f"required: install it, then ALTER EXTENSION {dialect.extension} UPDATE"
        )
    if found.schema is None:
        raise ConfigError(
            f"{database}: the extension {dialect.extension} {found.version} has no type "
            f"{dialect.type_name}: create it anew with DROP EXTENSION and CREATE EXTENSION"
        )
    return dialect.qualify(found.schema)


async def _create_extension(
    connection: psycopg.AsyncConnection, database: str, extension: str
) -> None:
    """Create the extension in the first schema of the search_path, or else in public."""
    cursor = await connection.execute("SELECT current_schema() IS NULL")
    place = sql.SQL(" SCHEMA public" if await cursor.fetchone() == (True,) else "")
    statement = sql.SQL("CREATE EXTENSION {}{}").format(sql.Identifier(extension), place)
    try:
        await connection.execute(statement)
    except errors.InsufficientPrivilege:
        raise ConfigError(
            f"{database}: this user may not create the extension {extension}. Let a superuser run "
            f"CREATE EXTENSION {extension} in that database, once"
        ) from None
