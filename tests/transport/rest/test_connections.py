from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from constellation.transport.rest.connections import MAX_WAITING, WaitingConnections
from constellation.transport.rest.listener import RestServer
from tests.polling import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.server import RunningShard

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: shard\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: shard\r\nContent-Length: 9\r\n\r\n"


async def answer_ok(_: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def run_listener(waiting: WaitingConnections) -> AsyncIterator[int]:
    protocol: Any = waiting.make_protocol
    config = uvicorn.Config(answer_ok, port=0, http=protocol, lifespan="off", log_config=None)
    server = RestServer(config)
    serving = asyncio.create_task(server.serve())
    await wait_until(lambda: asyncio.sleep(0, server.started))
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(port: int) -> bytes:
    async with connect(port) as (reader, writer):
        writer.write(REQUEST)
        return await reader.readline()


async def wait_for_end(reader: asyncio.StreamReader) -> None:
    """Return once the other side has closed or reset the connection."""
    async with asyncio.timeout(5):
        try:
            while await reader.read(100):
                pass
        except ConnectionResetError:
            return


async def test_probes_are_answered_beside_any_number_of_silent_connections(
    shard: RunningShard,
) -> None:
    async with AsyncExitStack() as silent:
        for _ in range(3 * MAX_WAITING):
            await silent.enter_async_context(connect(shard.ports.rest))

        assert await ask(shard.ports.rest) == OK
        assert await ask(shard.ports.rest) == OK


@pytest.mark.parametrize("begun", [b"", b"GET /health", REQUEST[:-2], POST + b"ab"])
async def test_a_connection_without_a_whole_request_is_closed(begun: bytes) -> None:
    waiting = WaitingConnections(seconds=0.05)
    async with run_listener(waiting) as port, connect(port) as (reader, writer):
        writer.write(begun)

        await wait_for_end(reader)


async def test_a_connection_that_sends_part_of_a_further_request_is_closed() -> None:
    waiting = WaitingConnections(seconds=0.05)
    async with run_listener(waiting) as port, connect(port) as (reader, writer):
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(OK)
        writer.write(b"G")

        await wait_for_end(reader)


async def test_the_connection_that_has_waited_longest_makes_room() -> None:
    async with run_listener(WaitingConnections(limit=2)) as port, AsyncExitStack() as stack:
        first, *others = [await stack.enter_async_context(connect(port)) for _ in range(3)]

        await wait_for_end(first[0])

        for reader, writer in others:
            writer.write(REQUEST)
            assert await reader.readline() == OK


async def test_a_connection_is_kept_for_further_requests() -> None:
    waiting = WaitingConnections(seconds=5)
    async with run_listener(waiting) as port, connect(port) as (reader, writer):
        for _ in range(3):
            writer.write(REQUEST + REQUEST)
            for _ in range(2):
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(OK)
