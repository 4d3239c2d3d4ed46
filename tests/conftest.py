"""Fixtures: a shard on a port of its own, and devices that speak to it over real gRPC."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.config import Address, Count, Seconds, ShardConfig
from constellation.server import RunningShard, serve
from constellation.stores import open_store
from testing.postgres_server import PostgresServer
from tests.databases import Databases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


pytest_plugins = ["tests.command_line"]


def make_shard_config(**settings: Any) -> ShardConfig:
    """Return settings for a test: a free port, everything at once, little shared by few."""
    defaults: dict[str, Any] = {
        "grpc_addr": Address("127.0.0.1:0"),
        "rest_addr": Address("127.0.0.1:0"),
        "metrics_addr": Address("127.0.0.1:0"),
        "drain_seconds": Seconds(0),
        "global_min_interval_seconds": Seconds(0),
        "global_interval_seconds": Seconds(3600),
        "k_anonymity": Count(2),
        "max_patterns": Count(100_000),
        "max_devices": Count(10_000),
    }
    return ShardConfig(**{**defaults, **settings})


@asynccontextmanager
async def run_shard(**settings: Any) -> AsyncIterator[RunningShard]:
    """Run a shard in this process, as production does."""
    config = make_shard_config(**settings)
    async with open_store(config) as store, serve(config, store) as shard:
        yield shard


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """A PostgreSQL server for the whole run."""
    with Databases.open() as databases:
        yield databases


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """A database with the schema, and no shard in it."""
    with databases.open_database() as url:
        yield url


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that a test may stop, crash and misconfigure; its templates are ready."""
    with PostgresServer.open() as server:
        server.execute("CREATE EXTENSION vector", "template1")
        yield server


@pytest.fixture
async def shard() -> AsyncIterator[RunningShard]:
    """A shard in memory, with nothing in it."""
    async with run_shard() as shard:
        yield shard


@pytest.fixture
async def durable_shard(tmp_path: Path) -> AsyncIterator[RunningShard]:
    """A shard on SQLite, with nothing in it."""
    async with run_shard(data_dir=tmp_path / "shard") as shard:
        yield shard


@pytest.fixture
async def channel(shard: RunningShard) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel:
        yield channel
