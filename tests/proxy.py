"""A TCP proxy on loopback that can lose a connection at a chosen moment, or stop answering."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Watch = "Callable[[bytes], bool]"


class Proxy:
    """Forwards both ways until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._target_port = port
        self._streams: set[asyncio.StreamWriter] = set()
        self._answering = asyncio.Event()
        self._answering.set()
        self.port = 0
        self.cut_requests: Callable[[bytes], bool] = lambda _: False
        """Loses the connection instead of handing on a request of which this is true."""
        self.cut_answers: Callable[[bytes], bool] = lambda _: False
        """The same for answers: the server has done it, and nobody hears."""
        self.cuts = 0
        self.refusing = False

    @classmethod
    @asynccontextmanager
    async def open(cls, host: str, port: int) -> AsyncIterator[Proxy]:
        proxy = cls(host, port)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            proxy.resume()
            server.close()
            proxy.cut()

    def cut(self) -> None:
        """Lose every connection."""
        for stream in list(self._streams):
            stream.transport.abort()

    def pause(self) -> None:
        """Hand on no more answers, as a server that hangs."""
        self._answering.clear()

    def resume(self) -> None:
        self._answering.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(self._host, self._target_port)
        self._streams |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, far_writer, "cut_requests"))
                both.create_task(self._forward(far_reader, writer, "cut_answers"))
        except* OSError:
            pass  # one side is gone, so the other goes, too
        finally:
            self._streams -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watch: str
    ) -> None:
        while data := await reader.read(65_536):
            if watch == "cut_answers":
                await self._answering.wait()
            if getattr(self, watch)(data):
                self.cuts += 1
                break
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
