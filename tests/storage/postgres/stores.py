"""Stores on PostgreSQL, directly or behind a proxy, and SQL beside them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from constellation.storage.postgres.pool import PostgresSettings
from constellation.storage.postgres.store import PostgresPatternStore, open_postgres
from tests.polling import wait_until
from tests.proxy import Proxy, open_postgres_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def make_settings(url: str, owner: str = "first", **more: float) -> PostgresSettings:
    return replace(PostgresSettings(url=url, owner=owner), **more)  # type: ignore[arg-type]


@asynccontextmanager
async def open_store_behind_proxy(url: str) -> AsyncIterator[tuple[Proxy, PostgresPatternStore]]:
    """Open a store that reaches its database through a proxy."""
    async with (
        open_postgres_proxy(url) as (proxy, proxied_url),
        open_postgres(make_settings(proxied_url, timeout_seconds=1)) as store,
    ):
        yield proxy, store


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def wait_for_lock(url: str, table: str) -> None:
    """Return once a statement that names a table waits for a lock."""
    statement = (
        "SELECT query FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def is_waiting() -> bool:
        waiting = await asyncio.to_thread(execute, url, statement)
        return any(f"constellation.{table}" in str(query) for (query,) in waiting)

    await wait_until(is_waiting)
