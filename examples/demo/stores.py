"""Where the demo's shard keeps its data: in a directory, or in a PostgreSQL database."""

from __future__ import annotations

import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from constellation.config import Secret, ShardConfig
from constellation.stores import open_reader, place_of
from examples.demo.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from constellation.core.store import StoreReader

KINDS: Final = ("sqlite", "postgres")


@dataclass(frozen=True, slots=True)
class DemoStore:
    """One shard's store, whichever kind it is."""

    config: ShardConfig
    """What names it."""
    kind: str

    @property
    def environment(self) -> Mapping[str, str]:
        """What a shard process is told."""
        told = {"DATA_DIR": str(self.config.data_dir), "MIGRATE_ON_START": "1"}
        if self.config.postgres_url is not None:
            told["POSTGRES_URL"] = self.config.postgres_url
        return told

    @property
    def place(self) -> str:
        return place_of(self.config)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[StoreReader]:
        """Read what is stored; a shard on SQLite must have ended."""
        async with open_reader(self.config) as reader:
            yield reader

    @asynccontextmanager
    async def frozen(self, copy: Path) -> AsyncIterator[StoreReader]:
        """Read what is stored now, while the next process changes it: from a copy on SQLite."""
        async with AsyncExitStack() as stack:
            config = self.config
            if config.postgres_url is None and config.data_dir is not None:
                shutil.copytree(config.data_dir, copy)
                config = replace(config, data_dir=copy)
            yield await stack.enter_async_context(open_reader(config))


@contextmanager
def demo_store(kind: str, folder: Path) -> Iterator[DemoStore]:
    """Make a store for one run. POSTGRES_URL, when set, is the database; else one is started."""
    config = ShardConfig(data_dir=folder / "shard")
    if url := os.environ.get("POSTGRES_URL"):
        yield DemoStore(replace(config, postgres_url=Secret(url)), "PostgreSQL")
    elif kind == "sqlite":
        yield DemoStore(config, "SQLite")
    else:
        with PostgresServer.open() as server:
            server.run("CREATE DATABASE constellation")
            url = server.url("constellation")
            yield DemoStore(replace(config, postgres_url=Secret(url)), "PostgreSQL of its own")
