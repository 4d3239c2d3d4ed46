from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.federation.journal.samples import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from federation.journal.contract import Journal


@pytest.fixture(params=["sqlite", "postgres"])
def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Each place in turn that several journals can share."""
    if request.param == "sqlite":
        return Place(data_dir=tmp_path / "data")
    return Place(postgres_url=request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place for each kind of journal in turn, empty."""
    match request.param:
        case "memory":
            return Place()
        case "sqlite":
            return Place(data_dir=tmp_path / "data")
        case _:  # which wins
            return Place(tmp_path / "data", request.getfixturevalue("postgres_url"))


@pytest.fixture
async def journal(place: Place) -> AsyncIterator[Journal]:
    """Each kind of journal in turn, empty and taken."""
    async with place.open() as opened:
        await opened.take()
        yield opened
