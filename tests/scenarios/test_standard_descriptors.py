"""Programs whose log nobody reads, whose disk is full, or whose descriptors are closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from testing.ports import find_free_address
from tests.polling import wait_until
from tests.scenarios.processes import COMMAND_DIR, make_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MALFORMED = b"\x16\x03\x01 this is no HTTP\r\n\r\n"
PIPE_BYTES = 1 << 16


@asynccontextmanager
async def run_shard_into(
    stderr: int | None, data_dir: Path, shell: str = ""
) -> AsyncIterator[tuple[str, str]]:
    """Run a shard that logs into a descriptor; yields the addresses of gRPC and REST."""
    grpc_address, rest_address = find_free_address(), find_free_address()
    settings = {"grpc_addr": grpc_address, "rest_addr": rest_address, "data_dir": data_dir}
    process = await asyncio.create_subprocess_shell(
        f"exec {COMMAND_DIR}/constellation serve {shell}",
        env=make_environment(**settings, drain_seconds=0),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=stderr,
    )
    try:
        await wait_until(lambda: is_serving(grpc_address))
        yield grpc_address, rest_address
        assert await is_serving(grpc_address)
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()


async def is_serving(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def send_malformed(rest_address: str, count: int) -> None:
    host, _, port = rest_address.rpartition(":")
    for _ in range(count):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(MALFORMED)
        await writer.drain()
        writer.transport.abort()


async def test_a_log_whose_reader_has_gone_does_not_end_a_shard(tmp_path: Path) -> None:
    reader, stderr = os.pipe()
    os.close(reader)

    async with run_shard_into(stderr, tmp_path) as (_, rest_address):
        os.close(stderr)
        await send_malformed(rest_address, 3)


async def test_a_log_on_a_full_disk_does_not_end_a_shard(tmp_path: Path) -> None:
    with open("/dev/full", "w") as stderr:  # noqa: ASYNC230, PTH123
        async with run_shard_into(stderr.fileno(), tmp_path) as (_, rest_address):
            await send_malformed(rest_address, 3)


async def test_a_log_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    _, stderr = os.pipe()
    os.write(stderr, bytes(PIPE_BYTES))  # the pipe is full

    async with run_shard_into(stderr, tmp_path) as (_, rest_address):
        await send_malformed(rest_address, 400)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://{rest_address}/health/ready", timeout=5)
        assert answer.status_code == 200


@pytest.mark.parametrize("closed", ["2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"])
async def test_a_shard_serves_with_closed_descriptors(tmp_path: Path, closed: str) -> None:
    async with run_shard_into(None, tmp_path, closed):
        pass


@pytest.mark.parametrize("command", ["constellation config", "federation completion bash"])
def test_a_command_ends_in_order_with_closed_descriptors(command: str) -> None:
    finished = subprocess.run(
        ["sh", "-c", f"{COMMAND_DIR}/{command} >&- 2>&-"], env=make_environment(), check=False
    )

    assert finished.returncode == 0
