"""The `constellation` command in processes of its own."""

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

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND_DIR = Path(sys.executable).parent
"""Where `constellation` and grpcurl are."""
DEADLINE_SECONDS = 20.0


@dataclass(frozen=True)
class CommandResult:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class ShardProcess:
    """A `constellation serve` that has told its port."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def wait_for_exit(self) -> CommandResult:
        """Wait for the process to end."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return CommandResult(self.process.returncode, out.decode(), err.decode())


def make_environment(**settings: object) -> dict[str, str]:
    """Return this process's environment with these settings of a shard and no others."""
    setting_names = {setting.name.upper() for setting in fields(ShardConfig)}
    inherited = {name: value for name, value in os.environ.items() if name not in setting_names}
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
    """Run the command to its end."""
    process = await start_command(*arguments, **settings)
    try:
        return await ShardProcess(process, 0).wait_for_exit()
    finally:
        _kill(process)


@asynccontextmanager
async def run_shard_process(
    data_dir: Path | None = None, **settings: object
) -> AsyncIterator[ShardProcess]:
    """Serve on a port of its own; whatever still runs at the end is killed."""
    process = await start_shard_process(data_dir=data_dir, **settings)
    try:
        yield ShardProcess(process, await read_port(process))
    finally:
        _kill(process)
        await process.communicate()


async def start_shard_process(**settings: object) -> asyncio.subprocess.Process:
    """Start a shard that may take its time."""
    return await start_command(
        "serve", **{"grpc_addr": "127.0.0.1:0", "drain_seconds": 0, **settings}
    )


async def read_port(process: asyncio.subprocess.Process) -> int:
    """Read the log until it tells the port."""
    return int((await wait_for_event(process, "shard_started"))["port"])


async def wait_for_event(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """Read the log until it tells an event, and return that line."""
    assert process.stderr is not None
    read = b""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while line := await process.stderr.readline():
            read += line
            if f'"{event}"'.encode() in line:
                found: dict[str, Any] = json.loads(line)
                return found
    raise AssertionError(f"the shard did not say {event}: {read.decode()}")


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
