"""Fixtures for all tests: real shards on free ports, and real PostgreSQL databases."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.config import Address, Count, Seconds, ShardConfig
from constellation.server import RunningShard, serve
from testing.postgres_server import PostgresServer
from tests.databases import Databases
from tests.secret_scan import pytest_runtest_makereport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


pytest_plugins = ["tests.command_line"]
__all__ = ["pytest_runtest_makereport"]
"""A hook, which pytest finds here: no test may print a secret."""


def make_shard_config(**settings: Any) -> ShardConfig:
    """Return settings for a test: free ports, no delays, and low limits."""
    defaults: dict[str, Any] = {
        "grpc_addr": Address("127.0.0.1:0"),
        "rest_addr": Address("127.0.0.1:0"),
        "metrics_addr": Address("127.0.0.1:0"),
        "drain_seconds": Seconds(0),
        "global_min_interval_seconds": Seconds(0),
        "global_interval_seconds": Seconds(3600),
        "k_anonymity": Count(2),
        "min_device_age_days": 0,
        "max_patterns": Count(100_000),
        "max_devices": Count(10_000),
    }
    return ShardConfig(**{**defaults, **settings})


@asynccontextmanager
async def run_shard(**settings: Any) -> AsyncIterator[RunningShard]:
    """Run a shard in this process, with the same code as `constellation serve`."""
    async with serve(make_shard_config(**settings)) as shard:
        yield shard


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """A PostgreSQL server for the whole test run."""
    with Databases.open() as databases:
        yield databases


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """A new database with the schema and without a shard."""
    with databases.open_database() as url:
        yield url


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that tests may stop, crash and misconfigure; it has pgvector."""
    with PostgresServer.open() as server:
        server.execute("CREATE EXTENSION vector", "template1")
        yield server


@pytest.fixture
async def shard() -> AsyncIterator[RunningShard]:
    """An empty shard in memory."""
    async with run_shard() as shard:
        yield shard


@pytest.fixture
async def durable_shard(tmp_path: Path) -> AsyncIterator[RunningShard]:
    """An empty shard on SQLite."""
    async with run_shard(data_dir=tmp_path / "shard") as shard:
        yield shard


@pytest.fixture
async def channel(shard: RunningShard) -> AsyncIterator[grpc.aio.Channel]:
    """A gRPC channel to the shard in memory."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel:
        yield channel
