"""A call that has ended does not stay because its caller does not read."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack, asynccontextmanager
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from constellation.transport.calls.endings import CallEndings, close_connections, to_peer
from tests.conftest import run_shard
from tests.sync_client import open_stream
from tests.transport.calls.test_peers import Call
from tests.transport.stalled_client import open_stalled_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ENDING_LIMIT_SECONDS = 5.0
GET_INFO = "/constellation.v1.ShardService/GetInfo"


@pytest.mark.parametrize(
    "path",
    [
        GET_INFO,  # answers
        "/constellation.v1.SyncService/Sync",  # is refused, with a last frame
    ],
)
async def test_an_ended_call_is_gone_whatever_its_caller_reads(path: str) -> None:
    async with (
        run_shard() as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        open_stream(channel) as honest,
    ):
        await honest.open(1)
        async with open_stalled_call(shard.port, path) as answers:
            started = time.monotonic()
            async with asyncio.timeout(30):
                while await answers.read(1 << 16):
                    pass  # until the shard closes the connection
            elapsed = time.monotonic() - started

        assert elapsed < ENDING_LIMIT_SECONDS
        assert (await honest.push(1)).through_seq == 1


async def test_connections_are_closed_beside_that_of_rest_to_its_own_process() -> None:
    """REST calls on a local socket, whose address is of another shape than that of a caller."""
    async with (
        run_shard() as shard,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{shard.ports.rest}") as rest,
    ):
        assert (await rest.get("/health/live")).is_success
        async with open_stalled_call(shard.port, GET_INFO) as answers, asyncio.timeout(30):
            while await answers.read(1 << 16):
                pass  # until the shard closes the connection

        assert (await rest.get("/health/live")).is_success


@asynccontextmanager
async def open_connection() -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """Connect to this process; yield the address of the caller as gRPC names it, and its end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        with listening.accept()[0]:
            host, port = writer.get_extra_info("sockname")
            yield f"ipv4:{host}:{port}", reader
        writer.close()


class EndingCall(Call):
    """A call whose handler has ended; `end` is called when its caller has read the end as well."""

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self._callback = callback

    def end(self) -> None:
        self._callback(self)


async def test_a_call_whose_end_waits_while_the_process_stands_still_keeps_its_connection() -> None:
    endings = CallEndings(ending_seconds=0.01)
    async with open_connection() as (address, reader), asyncio.TaskGroup() as tasks:
        closing = tasks.create_task(endings.close_forever())
        ended, stalled = EndingCall(address), EndingCall(address)

        endings.watch(ended)
        time.sleep(1.0)  # noqa: ASYNC251 - the process stands still
        asyncio.get_running_loop().call_later(0.1, ended.end)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await reader.read(1)

        endings.watch(stalled)
        assert await reader.read(1) == b""  # closed
        closing.cancel()


@pytest.mark.parametrize(
    ("call", "is_closed"),
    [
        (Call("ipv4:8.8.8.8:5"), True),
        (Call("ipv4:8.8.8.8:5", "9.9.9.9"), True),  # a stranger who pretends
        (Call("ipv4:192.168.1.1:5"), True),
        (Call("ipv4:192.168.1.1:5", "9.9.9.9"), False),  # a proxy that nobody named
        (Call("ipv4:10.1.2.3:5"), False),
        (Call("ipv4:10.1.2.3:5", "9.9.9.9"), False),
        (Call("unix:"), False),
    ],
)
async def test_a_connection_of_a_proxy_is_never_closed(call: Any, is_closed: bool) -> None:  # noqa: FBT001
    endings = CallEndings([ip_network("10.0.0.0/8")])

    assert endings.may_close(call) is is_closed


def test_a_peer_has_an_address_and_a_port() -> None:
    assert to_peer("ipv6:%5B2001:db8::1%5D:57420") == (ip_address("2001:db8::1"), 57420)
    assert to_peer("unix:") is None


def test_only_the_connections_of_a_peer_are_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        clients, accepted = [], []
        for _ in range(3):
            clients.append(stack.enter_context(socket.create_connection(listening.getsockname())))
            accepted.append(stack.enter_context(listening.accept()[0]))
        host, port = clients[1].getsockname()

        closed = close_connections({(ip_address(host), port)})

        for each in (clients[0], accepted[2]):
            each.sendall(b"x")
        assert closed == 1
        assert clients[1].recv(1) == b""
        assert (accepted[0].recv(1), clients[2].recv(1)) == (b"x", b"x")
