from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation.storage.memory import MemoryPatternStore
from constellation.storage.postgres import open_postgres
from constellation.storage.postgres_pool import PostgresSettings
from constellation.storage.sqlite import SqlitePatternStore, open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from constellation.core.store import PatternStore


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PatternStore]:
    """Each kind of store in turn, empty."""
    if request.param == "memory":
        yield MemoryPatternStore()
        return
    if request.param == "postgres":
        settings = PostgresSettings(url=request.getfixturevalue("postgres_url"), owner="test")
        async with open_postgres(settings) as opened:
            yield opened
        return
    async with open_sqlite(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SqlitePatternStore]:
    """An embedded store, empty."""
    async with open_sqlite(tmp_path / "data") as opened:
        yield opened
