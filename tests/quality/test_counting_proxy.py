from __future__ import annotations

import asyncio

from quality.counting_proxy import CountingProxy, Traffic


async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer what was read with twice as much, and end the connection."""
    data = await reader.readexactly(1000)
    writer.write(data + data)
    await writer.drain()
    writer.close()


async def test_bytes_are_forwarded_and_counted_in_both_directions() -> None:
    server = await asyncio.start_server(answer_twice, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, CountingProxy.open(port) as proxy:
        for number in range(1, 4):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"x" * 1000)
            assert await reader.read(-1) == b"x" * 2000
            writer.close()
            assert proxy.traffic == Traffic(up=1000 * number, down=2000 * number)


async def test_a_device_that_resets_its_connection_does_not_stop_the_proxy() -> None:
    server = await asyncio.start_server(answer_twice, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, CountingProxy.open(port) as proxy:
        _, cut = await asyncio.open_connection("127.0.0.1", proxy.port)
        cut.transport.abort()

        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"x" * 1000)
        assert await reader.read(-1) == b"x" * 2000
        writer.close()


def test_traffic_is_added_and_subtracted_by_direction() -> None:
    assert Traffic(5, 7) + Traffic(1, 2) == Traffic(6, 9)
    assert Traffic(5, 7) - Traffic(1, 2) == Traffic(4, 5)
