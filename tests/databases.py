"""Databases for tests: each its own, made from a template that has the schema."""

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
    """Makes databases on one server, and drops them again."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url
        self._template = self.create("template1")
        with ThreadPoolExecutor(1) as thread:  # this one may have a loop that runs
            thread.submit(asyncio.run, migrate(self.url(self._template), PGVECTOR)).result()

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Databases]:
        """Use the server that TEST_POSTGRES_URL names, or one that lives as long as the block."""
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
        return make_conninfo(self._admin_url, dbname=name)

    def create(self, template: str | None = None) -> str:
        """Create a database with the schema, or like another one; return its name."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template or self._template)
        return name

    def drop(self, name: str) -> None:
        self._execute("DROP DATABASE {} WITH (FORCE)", name)

    @contextmanager
    def open_database(self, *, template: str | None = None) -> Iterator[str]:
        """Return the connection string of a database that is dropped after the block."""
        name = self.create(template)
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
