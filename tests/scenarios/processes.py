"""The `constellation` command in separate processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from constellation.config import ShardConfig
from tests.secret_scan import require_no_secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND_DIR = Path(sys.executable).parent
"""The folder with the programs `constellation`, `federation` and grpcurl."""
DEADLINE_SECONDS = 20.0


@dataclass(frozen=True)
class CommandResult:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str

    def __post_init__(self) -> None:
        require_no_secret(self.err)


@dataclass(frozen=True)
class ShardProcess:
    """A running `constellation serve` and its gRPC port."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def wait_for_exit(self) -> CommandResult:
        """Wait until the process has ended, and return its result."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return CommandResult(self.process.returncode, out.decode(), err.decode())


def make_environment(**settings: object) -> dict[str, str]:
    """Return this process's environment with only these settings of a shard, open to all."""
    setting_names = {setting.name.upper() for setting in fields(ShardConfig)}
    inherited = {name: value for name, value in os.environ.items() if name not in setting_names}
    inherited |= {"INSECURE": "1", "MIN_DEVICE_AGE_DAYS": "0"}
    inherited |= {"REST_ADDR": "127.0.0.1:0", "METRICS_ADDR": "127.0.0.1:0"}
    chosen = {name.upper(): str(value) for name, value in settings.items() if value is not None}
    return {**inherited, **chosen}


async def start_command(*arguments: str, **settings: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        COMMAND_DIR / "constellation",
        *arguments,
        env=make_environment(**settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run_command(*arguments: str, **settings: object) -> CommandResult:
    """Run the `constellation` command to its end."""
    process = await start_command(*arguments, **settings)
    try:
        return await ShardProcess(process, 0).wait_for_exit()
    finally:
        _kill(process)


@asynccontextmanager
async def run_shard_process(
    data_dir: Path | None = None, **settings: object
) -> AsyncIterator[ShardProcess]:
    """Run a shard on a free port until the block is left, then kill it if it is still running."""
    process = await start_shard_process(data_dir=data_dir, **settings)
    try:
        yield ShardProcess(process, await read_port(process))
    finally:
        _kill(process)
        await process.communicate()


async def start_shard_process(**settings: object) -> asyncio.subprocess.Process:
    """Start a shard, without waiting until it serves."""
    return await start_command(
        "serve", **{"grpc_addr": "127.0.0.1:0", "drain_seconds": 0, **settings}
    )


async def read_port(process: asyncio.subprocess.Process) -> int:
    """Return the gRPC port of a shard, once its log contains it."""
    return int((await wait_for_event(process, "shard_started"))["port"])


async def wait_for_event(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """Read the log until an event occurs, and return its log line."""
    assert process.stderr is not None
    read = b""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while line := await process.stderr.readline():
            read += line
            require_no_secret(line.decode())
            if f'"{event}"'.encode() in line:
                found: dict[str, Any] = json.loads(line)
                return found
    raise AssertionError(f"the process did not log {event}: {read.decode()}")


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
