"""One shard, and a client of its REST port, for all tests of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.conftest import run_shard
from tests.transport.rest.rest_client import open_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from constellation.server import RunningShard


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_shard() -> AsyncIterator[RunningShard]:
    """One shard for the whole module: no test here needs it empty."""
    async with run_shard() as shard:
        yield shard


@pytest_asyncio.fixture(loop_scope="module")
async def rest(shared_shard: RunningShard) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(shared_shard) as found:
        yield found
