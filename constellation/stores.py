"""Opens the store that the settings choose, PostgreSQL, SQLite or memory, to write or only read."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from constellation.core.store_identity import StoreIdentity
from constellation.errors import ConfigError
from constellation.storage.data_dir import (
    JOURNAL_FILES,
    generate_owner,
    lock_directory,
    read_or_create_owner,
)
from constellation.storage.memory import MemoryPatternStore
from constellation.storage.postgres.dialect import DIALECTS
from constellation.storage.postgres.errors import describe_database
from constellation.storage.postgres.migrations import migrate
from constellation.storage.postgres.pool import PostgresSettings
from constellation.storage.postgres.store import open_postgres, open_postgres_reader
from constellation.storage.snapshots import IndexSnapshots
from constellation.storage.sqlite.schema import database_file
from constellation.storage.sqlite.store import open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.config import ShardConfig
    from constellation.core.recovery import SnapshotFiles
    from constellation.core.store import PatternStore, StoreReader


@asynccontextmanager
async def open_store(config: ShardConfig, region: str | None = None) -> AsyncIterator[PatternStore]:
    """Open the store that the settings name, for writing, and make it this shard's.

    POSTGRES_URL names a PostgreSQL store, or else DATA_DIR a SQLite store. Without either, the
    store is in memory. A process that serves also names its region. Raises ConfigError for a store
    of another shard, NotReadyError, StoreInUseError or DamagedStoreError.
    """
    async with open_unclaimed_store(config) as store:
        await claim_store(store, config, region)
        yield store


async def claim_store(store: PatternStore, config: ShardConfig, region: str | None = None) -> None:
    """Make a store this shard's. Raises ConfigError for a store of another shard."""
    stored = await store.read_identity()
    process = StoreIdentity.of_process(config.shard_id, region)
    identity = stored.adopt(process, describe_location(config))
    if identity != stored:
        await store.write_identity(identity)


@asynccontextmanager
async def open_unclaimed_store(config: ShardConfig) -> AsyncIterator[PatternStore]:
    """Open the store that the settings name, for writing, whoever it belongs to."""
    if config.postgres_url is not None:
        async with _open_postgres(config) as store:
            yield store
    elif config.data_dir is not None:
        async with open_sqlite(config.data_dir) as store:
            yield store
    else:
        yield MemoryPatternStore()


@asynccontextmanager
async def open_reader(config: ShardConfig) -> AsyncIterator[StoreReader]:
    """Open the store of a shard for reading. Only on PostgreSQL may the shard serve meanwhile.

    Raises ConfigError when the settings name no store, one that does not exist, or one of another
    shard.
    """
    async with _open_any_reader(config) as reader:
        process = StoreIdentity.of_process(config.shard_id)
        (await reader.read_identity()).adopt(process, describe_location(config))
        yield reader


@asynccontextmanager
async def _open_any_reader(config: ShardConfig) -> AsyncIterator[StoreReader]:
    if config.postgres_url is not None:
        async with open_postgres_reader(to_postgres_settings(config, owner="")) as reader:
            yield reader
        return
    if config.data_dir is None:
        raise ConfigError("DATA_DIR or POSTGRES_URL is required: it names the store of the shard")
    try:
        is_there = database_file(config.data_dir).database.is_file()
    except OSError as error:
        raise ConfigError(f"DATA_DIR: cannot read it: {error.strerror}") from error
    if not is_there:
        raise ConfigError(f"DATA_DIR: there is no shard in {config.data_dir}")
    async with open_sqlite(config.data_dir) as store:
        yield store


def describe_location(config: ShardConfig) -> str:
    """Return the location of the store of a shard as text for people, without secrets."""
    if config.postgres_url is not None:
        return f"{describe_database(config.postgres_url)}, shard {config.shard_id}"
    return str(config.data_dir or "memory")


async def open_snapshots(config: ShardConfig, store: StoreReader) -> SnapshotFiles | None:
    """Return the index snapshots of a store in DATA_DIR, or None without a data directory."""
    if config.data_dir is None:
        return None
    return IndexSnapshots(config.data_dir, await store.read_secret())


def to_postgres_settings(config: ShardConfig, *, owner: str) -> PostgresSettings:
    """Return the settings of the PostgreSQL store. POSTGRES_URL must be set."""
    assert config.postgres_url is not None
    return PostgresSettings(
        url=config.postgres_url,
        shard_id=config.shard_id,
        owner=owner,
        dialect=DIALECTS[config.vector_extension],
        lease_seconds=config.lease_seconds,
        timeout_seconds=config.postgres_timeout_seconds,
        pool_size=config.postgres_pool_size,
    )


@asynccontextmanager
async def _open_postgres(config: ShardConfig) -> AsyncIterator[PatternStore]:
    with ExitStack() as stack:
        owner = generate_owner()
        if config.data_dir is not None:
            stack.enter_context(lock_directory(config.data_dir, JOURNAL_FILES))
            owner = read_or_create_owner(config.data_dir)
        settings = to_postgres_settings(config, owner=owner)
        if config.migrate_on_start:
            await migrate(settings.url, settings.dialect)
        async with open_postgres(settings) as store:
            yield store
