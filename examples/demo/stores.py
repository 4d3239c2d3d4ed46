"""Where the demo's servers keep their data: in directories, or in one PostgreSQL database."""

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
    """One shard's store, whichever kind it is."""

    config: ShardConfig
    """What names it."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What a shard process is told."""
        settings = {"DATA_DIR": str(self.config.data_dir), "MIGRATE_ON_START": "1"}
        if self.config.postgres_url is not None:
            settings["POSTGRES_URL"] = self.config.postgres_url
        return settings

    @asynccontextmanager
    async def read(self) -> AsyncIterator[StoreReader]:
        """Read what is stored; a shard on SQLite must have ended."""
        async with open_reader(self.config) as reader:
            yield reader

    @asynccontextmanager
    async def read_copy(self, copy: Path) -> AsyncIterator[StoreReader]:
        """Read what is stored now, while the next process changes it: from a copy on SQLite."""
        async with AsyncExitStack() as stack:
            config = self.config
            if config.postgres_url is None and config.data_dir is not None:
                shutil.copytree(config.data_dir, copy)
                config = replace(config, data_dir=copy)
            yield await stack.enter_async_context(open_reader(config))


@dataclass(frozen=True, slots=True)
class DemoStorage:
    """What all servers of one run share: a folder, and perhaps a database."""

    folder: Path
    postgres_url: Secret | None
    kind: str

    def make_shard_store(self, shard_id: int) -> DemoStore:
        """Return the store of one shard: a directory of its own, or its rows of the database."""
        folder = self.folder / f"shard-{shard_id}"
        return DemoStore(
            ShardConfig(shard_id=shard_id, data_dir=folder, postgres_url=self.postgres_url)
        )

    @property
    def journal_settings(self) -> Mapping[str, str]:
        """What a federation process is told."""
        if self.postgres_url is not None:
            return {"POSTGRES_URL": self.postgres_url}
        return {"DATA_DIR": str(self.folder / "federation")}


@contextmanager
def open_storage(kind: str, folder: Path) -> Iterator[DemoStorage]:
    """Make storage for one run. POSTGRES_URL, when set, is the database; else one is started."""
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
