"""Ports that are open before there is a shard behind them."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.shard_process import SERVICES
from constellation.transport.calls.counters import CallStats
from constellation.transport.health.service import Health
from constellation.transport.listener import COMMON_SERVICES, ListenerConfig, open_listener
from constellation.transport.services.process import ProcessServicer
from constellation.v1 import shard_pb2, sync_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.servers import run_subprocess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LISTENER_CONFIG = ListenerConfig(
    grpc_addr="127.0.0.1:0", rest_addr="127.0.0.1:0", services=SERVICES, max_calls=100
)


@asynccontextmanager
async def open_waiting_shard(calls: CallStats) -> AsyncIterator[grpc.aio.Channel]:
    """Open the ports of a shard that waits, and connect to them."""
    health = Health((*SERVICES, *COMMON_SERVICES))
    health.mark_not_ready("waiting to be the shard's one writer")
    process = ProcessServicer(lambda: "info", lambda _: None)
    async with (
        open_listener(LISTENER_CONFIG, health, process, calls) as listener,
        grpc.aio.insecure_channel(f"127.0.0.1:{listener.grpc_port}") as channel,
    ):
        yield channel
        await listener.stop(grace=0)


async def get_refusal(call: Any) -> tuple[grpc.StatusCode, str | None]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), raised.value.details()


async def read_all(call: Any) -> None:
    """Read a stream to its end; a last frame comes before the status."""
    async for _ in call:
        pass


async def test_every_kind_of_call_is_told_to_wait_and_counted_as_what_it_is() -> None:
    calls = CallStats()
    async with open_waiting_shard(calls) as channel:
        sync: Any = SyncServiceStub(channel)
        shard: Any = ShardServiceStub(channel)
        refusals = [
            await get_refusal(sync.GetSyncVersion(sync_pb2.GetSyncVersionRequest())),
            await get_refusal(shard.GetInfo(shard_pb2.GetInfoRequest())),
            await get_refusal(read_all(sync.Sync())),
        ]

    assert set(refusals) == {
        (grpc.StatusCode.UNAVAILABLE, "waiting to be the shard's one writer"),
    }
    counted = {each.method: (str(each.kind), dict(each.handled)) for each in calls.methods()}
    assert counted == {
        "GetSyncVersion": ("unary", {"UNAVAILABLE": 1}),
        "GetInfo": ("unary", {"UNAVAILABLE": 1}),
        "Sync": ("bidi_stream", {"UNAVAILABLE": 1}),
    }


async def test_a_path_has_one_spelling() -> None:
    calls = CallStats()
    async with open_waiting_shard(calls) as channel:
        for count in range(1, 20):
            path = f"{'/' * count}/constellation.v1.ShardService/GetInfo"
            call: Any = channel.unary_unary(path)
            code, _ = await get_refusal(call(b""))
            assert code is grpc.StatusCode.UNIMPLEMENTED

    assert calls.methods() == []


async def test_a_method_that_does_not_exist_is_neither_told_to_wait_nor_counted() -> None:
    calls = CallStats()
    async with open_waiting_shard(calls) as channel:
        made_up: Any = channel.unary_unary("/constellation.v1.SyncService/MadeUp")
        code, _ = await get_refusal(made_up(b""))

    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert calls.methods() == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - a wildcard is one, too
def test_a_taken_port_is_one_line_of_our_own(host: str) -> None:
    with socket.socket() as taken:
        taken.bind((host, 0))
        taken.listen()
        address = f"{host}:{taken.getsockname()[1]}"
        side = dict.fromkeys(("rest_addr", "metrics_addr"), "127.0.0.1:0")

        ended = run_subprocess("constellation", "serve", grpc_addr=address, **side)

    assert ended.status == 2
    lines = [line for line in ended.err.splitlines() if '"event": "insecure"' not in line]
    assert lines == [
        (
            f"constellation: GRPC_ADDR: cannot listen on {address}: the port is in use, or the "
            "address is not this machine's"
        )
    ]
