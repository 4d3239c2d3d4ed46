"""A TCP proxy on loopback that can close a connection at a chosen moment, or stop answering."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass
class LostCommit:
    """A PostgreSQL transaction whose COMMIT, or the response to it, is to be lost."""

    marker: bytes
    """Text in one of its requests that no other transaction contains."""
    is_executed: bool
    """True: the server commits, but the response is lost. False: the COMMIT itself is lost."""
    connection: asyncio.StreamWriter | None = None
    """The client whose request had the marker; only its COMMIT is lost."""


class Proxy:
    """Forwards bytes in both directions, and loses connections on request."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._target_port = port
        self._streams: set[asyncio.StreamWriter] = set()
        self._answers_enabled = asyncio.Event()
        self._answers_enabled.set()
        self.port = 0
        self.should_cut_request: Callable[[bytes], bool] = lambda _: False
        """Decides whether to close the connection instead of forwarding bytes to the server."""
        self.should_cut_answer: Callable[[bytes], bool] = lambda _: False
        """Decides whether to close the connection instead of forwarding bytes to the client."""
        self.lost_commit: LostCommit | None = None
        """The transaction to lose. It is lost once, and this is None afterwards."""
        self.cut_count = 0
        """Connections closed by one of the three attributes above."""

    @classmethod
    @asynccontextmanager
    async def open(cls, host: str, port: int) -> AsyncIterator[Proxy]:
        """Run a proxy for a server until the block is left."""
        proxy = cls(host, port)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            proxy.resume()
            server.close()
            proxy.cut_connections()

    def cut_connections(self) -> None:
        """Close every connection at once."""
        for stream in list(self._streams):
            stream.transport.abort()

    def pause(self) -> None:
        """Stop forwarding responses, like a server that hangs."""
        self._answers_enabled.clear()

    def resume(self) -> None:
        """Forward responses again, including those that waited."""
        self._answers_enabled.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(self._host, self._target_port)
        self._streams |= {writer, server_writer}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, server_writer, writer, is_answer=False))
                both.create_task(self._forward(server_reader, writer, writer, is_answer=True))
        except* OSError:
            pass  # one side has closed, so close the other as well
        finally:
            self._streams -= {writer, server_writer}
            writer.transport.abort()
            server_writer.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        *,
        is_answer: bool,
    ) -> None:
        while data := await reader.read(65_536):
            if is_answer:
                await self._answers_enabled.wait()
            should_cut = self.should_cut_answer if is_answer else self.should_cut_request
            if should_cut(data) or self._is_lost(data, client, is_answer=is_answer):
                self.cut_count += 1
                break
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    def _is_lost(self, data: bytes, client: asyncio.StreamWriter, *, is_answer: bool) -> bool:
        lost_commit = self.lost_commit
        if lost_commit is None:
            return False
        if not is_answer and lost_commit.marker in data:
            lost_commit.connection = client
        if not (
            lost_commit.connection is client
            and is_answer == lost_commit.is_executed
            and b"COMMIT\0" in data
        ):
            return False
        self.lost_commit = None
        return True


@asynccontextmanager
async def open_postgres_proxy(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Run a proxy in front of a PostgreSQL server; also yield the connection string through it."""
    parts = conninfo_to_dict(url)
    async with Proxy.open(str(parts["host"]), int(str(parts["port"]))) as proxy:
        # Without TLS, the proxy can recognise statements in the bytes that it forwards.
        yield proxy, make_conninfo(url, port=proxy.port, sslmode="disable")
