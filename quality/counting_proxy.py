"""A TCP proxy on loopback that counts the bytes between devices and one shard."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CHUNK_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes inside of TCP: HTTP/2, gRPC and messages, without encryption."""

    up: int = 0
    """From devices to shards."""
    down: int = 0
    """From shards to devices."""

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.up + other.up, self.down + other.down)

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.up - other.up, self.down - other.down)


class CountingProxy:
    """Forwards connections to one port on loopback, and counts."""

    def __init__(self, target_port: int) -> None:
        """Prepare a proxy. Callers use `open`."""
        self._target_port = target_port
        self.port = 0
        self.traffic = Traffic()
        """Bytes so far."""

    @classmethod
    @asynccontextmanager
    async def open(cls, target_port: int) -> AsyncIterator[CountingProxy]:
        """Accept connections until the block ends."""
        proxy = cls(target_port)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shard_reader, shard_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, shard_writer, is_up=True))
                both.create_task(self._forward(shard_reader, writer, is_up=False))
        finally:
            writer.close()
            shard_writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        """Forward until one side closes or resets its connection, which ends both directions."""
        with suppress(ConnectionError):
            while data := await reader.read(_CHUNK_BYTES):
                self.traffic += Traffic(up=len(data)) if is_up else Traffic(down=len(data))
                writer.write(data)
                await writer.drain()
        writer.close()
