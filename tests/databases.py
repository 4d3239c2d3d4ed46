"""PostgreSQL databases for tests, each copied from a template with the schema."""

from __future__ import annotations

import asyncio
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from constellation.storage.postgres.dialect import PGVECTOR
from constellation.storage.postgres.migrations import migrate
from testing.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator


class Databases:
    """Creates and drops databases on one server."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._template = self.create("template1")
        with ThreadPoolExecutor(1) as thread:  # this thread may have a running loop
            thread.submit(asyncio.run, migrate(self.url(self._template), PGVECTOR)).result()

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Databases]:
        """Use the server in TEST_POSTGRES_URL, or run one until the block is left."""
        if url := os.environ.get("TEST_POSTGRES_URL"):
            databases = cls(url)
            try:
                yield databases
            finally:
                databases.drop(databases._template)
            return
        with PostgresServer.open() as server:
            yield cls(server.make_url())

    def url(self, name: str) -> str:
        """Return the connection string of a database."""
        return make_conninfo(self._admin_url, dbname=name)

    def create(self, template: str | None = None) -> str:
        """Create a database from a template, by default with the schema; return its name."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template or self._template)
        return name

    def drop(self, name: str) -> None:
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    @contextmanager
    def open_database(self, *, template: str | None = None) -> Iterator[str]:
        """Create a database, yield its connection string, and drop it when the block is left."""
        name = self.create(template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
