"""A TCP proxy on loopback that can lose a connection at a chosen moment, or stop answering."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass
class LostCommit:
    """A transaction of PostgreSQL whose COMMIT, or its answer, gets lost."""

    holding: bytes
    """Text in one of its requests, which no other transaction has."""
    answered: bool
    """The server does it, and nobody hears; else it never gets there."""
    armed: bool = False


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
        self.lost_commit: LostCommit | None = None
        """Happens once, then is None."""
        self.cuts = 0

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
            if getattr(self, watch)(data) or self._loses(data, watch == "cut_answers"):
                self.cuts += 1
                break
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    def _loses(self, data: bytes, is_answer: bool) -> bool:  # noqa: FBT001 - private
        lost = self.lost_commit
        if lost is None:
            return False
        if not is_answer:
            lost.armed |= lost.holding in data
        if not (lost.armed and is_answer == lost.answered and b"COMMIT\0" in data):
            return False
        self.lost_commit = None
        return True
