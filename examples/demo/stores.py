"""The storage of the demo's servers: directories, or one PostgreSQL database."""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from constellation.config import Secret, ShardConfig
from constellation.stores import open_reader
from testing.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from constellation.core.store import StoreReader

STORE_KINDS: Final = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True)
class DemoStore:
    """The store of one shard, of any kind."""

    config: ShardConfig
    """The settings that name the store."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of a shard process that uses the store."""
        settings = {"DATA_DIR": str(self.config.data_dir), "MIGRATE_ON_START": "1"}
        if self.config.postgres_url is not None:
            settings["POSTGRES_URL"] = self.config.postgres_url
        return settings

    @asynccontextmanager
    async def read(self) -> AsyncIterator[StoreReader]:
        """Open the store for reading. A shard on SQLite must have ended."""
        async with open_reader(self.config) as reader:
            yield reader

    @asynccontextmanager
    async def read_copy(self, copy: Path) -> AsyncIterator[StoreReader]:
        """Open what is stored now for reading, while the next process changes the store.

        On SQLite, that is a copy of the files in the folder `copy`.
        """
        async with AsyncExitStack() as stack:
            config = self.config
            if config.postgres_url is None and config.data_dir is not None:
                shutil.copytree(config.data_dir, copy)
                config = replace(config, data_dir=copy)
            yield await stack.enter_async_context(open_reader(config))


@dataclass(frozen=True, slots=True)
class DemoStorage:
    """The storage that all servers of one run share: a folder, and perhaps a database."""

    folder: Path
    postgres_url: Secret | None
    kind: str
    """The kind of store, for people."""

    def make_shard_store(self, shard_id: int) -> DemoStore:
        """Return the store of one shard: a directory, or its rows of the database."""
        folder = self.folder / f"shard-{shard_id}"
        return DemoStore(
            ShardConfig(shard_id=shard_id, data_dir=folder, postgres_url=self.postgres_url)
        )

    @property
    def journal_settings(self) -> Mapping[str, str]:
        """The settings of the federation process that name its journal."""
        if self.postgres_url is not None:
            return {"POSTGRES_URL": self.postgres_url}
        return {"DATA_DIR": str(self.folder / "federation")}


@contextmanager
def open_storage(kind: str, folder: Path) -> Iterator[DemoStorage]:
    """Provide storage for one run.

    The database of POSTGRES_URL is used when that is set. Otherwise "postgres" starts a server,
    which ends with the block.
    """
    if url := os.environ.get("POSTGRES_URL"):
        yield DemoStorage(folder, Secret(url), "PostgreSQL")
    elif kind == "sqlite":
        yield DemoStorage(folder, None, "SQLite")
    else:
        with PostgresServer.open() as server:
            server.execute("CREATE DATABASE constellation")
            yield DemoStorage(
                folder, Secret(server.make_url("constellation")), "PostgreSQL of its own"
            )
