from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.federation.journal.samples import JournalLocation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from federation.journal.contract import Journal


@pytest.fixture(params=["sqlite", "postgres"])
def shared_location(request: pytest.FixtureRequest, tmp_path: Path) -> JournalLocation:
    """Each kind of location, in turn, that several journals can share."""
    if request.param == "sqlite":
        return JournalLocation(data_dir=tmp_path / "data")
    return JournalLocation(postgres_url=request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> JournalLocation:
    """An empty location for each kind of journal in turn."""
    match request.param:
        case "memory":
            return JournalLocation()
        case "sqlite":
            return JournalLocation(data_dir=tmp_path / "data")
        case _:  # PostgreSQL wins over DATA_DIR
            return JournalLocation(tmp_path / "data", request.getfixturevalue("postgres_url"))


@pytest.fixture
async def journal(location: JournalLocation) -> AsyncIterator[Journal]:
    """Each kind of journal in turn, empty and active."""
    async with location.open() as opened:
        await opened.become_active()
        yield opened
