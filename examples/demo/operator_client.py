"""A client of ShardService, for the demo as the operator of a shard."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import grpc

from constellation.auth.principal import Role
from constellation.encoding import DIMENSION
from constellation.v1 import patterns_pb2, shard_pb2, shard_pb2_grpc
from constellation_settop.values import Version
from examples.demo.security import OpenFleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from testing.catalogue import FilmCatalogue

BATCH: Final = 256
"""Content items in one AddContent."""
_SCALE: Final = struct.pack("<f", 1 / 127)
"""Scale of every embedding. Any works, because the shard scales them to unit length."""
_MAX_TITLE_BYTES: Final = 256
_MAX_GENRES: Final = 8


class OperatorClient:
    """Adds films to a shard's catalogue, and reads its measurements."""

    def __init__(self, stub: shard_pb2_grpc.ShardServiceAsyncStub) -> None:
        self._stub = stub
        self.stats = shard_pb2.GetStatsResponse()
        """The newest result of `read_stats` or `poll_stats`."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, address: str, security: OpenFleet | None = None
    ) -> AsyncIterator[OperatorClient]:
        """Open a client of the shard at an address."""
        security = security or OpenFleet()
        async with security.open_channel(address, Role.FEEDER, Role.VIEWER) as channel:
            yield cls(shard_pb2_grpc.ShardServiceStub(channel))

    async def add_films(
        self, catalogue: FilmCatalogue, report_progress: Callable[[int], None]
    ) -> int:
        """Add every film to the shard's catalogue; return how many were new to it."""
        contents = [_to_content(catalogue, row) for row in range(len(catalogue.films))]
        added = 0
        for start in range(0, len(contents), BATCH):
            request = shard_pb2.AddContentRequest(contents=contents[start : start + BATCH])
            added += (await self._stub.AddContent(request)).added_count
            report_progress(start + len(request.contents))
        return added

    async def read_stats(self) -> shard_pb2.GetStatsResponse:
        """Return what the shard has measured since it started."""
        self.stats = await self._stub.GetStats(
            shard_pb2.GetStatsRequest(), timeout=10, wait_for_ready=True
        )
        return self.stats

    async def read_newest_version(self) -> Version:
        """Return the version of the global state that the shard has now."""
        newest = (await self.read_stats()).global_version
        return Version(newest.generation, newest.version)

    async def poll_stats(self, seconds: float) -> None:
        """Read the stats at intervals until cancelled. An unavailable shard is skipped."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):  # the shard may have been killed
                self.stats = await self._stub.GetStats(shard_pb2.GetStatsRequest(), timeout=2)
            await asyncio.sleep(seconds)


def _to_content(catalogue: FilmCatalogue, row: int) -> shard_pb2.Content:
    film, codes = catalogue.films[row], catalogue.codes[row]
    assert len(codes) == DIMENSION
    return shard_pb2.Content(
        content_id=film.content_id,
        title=film.title.encode()[:_MAX_TITLE_BYTES].decode(errors="ignore"),
        content_type=patterns_pb2.CONTENT_TYPE_MOVIE,
        genres=film.genres[:_MAX_GENRES],
        year=film.year,
        encoding=patterns_pb2.ENCODING_INT8,
        embedding=_SCALE + codes.tobytes(),
    )
