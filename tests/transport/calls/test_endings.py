"""A call that has ended does not stay because its caller does not read."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from typing import Any

import grpc
import pytest

from constellation.transport.calls.endings import CallEndings, close_connections, to_peer
from tests.conftest import run_shard
from tests.sync_client import open_stream
from tests.transport.calls.test_peers import Call
from tests.transport.stalled_client import open_stalled_call

ENDING_LIMIT_SECONDS = 5.0


@pytest.mark.parametrize(
    "path",
    [
        "/constellation.v1.ShardService/GetInfo",  # answers
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
