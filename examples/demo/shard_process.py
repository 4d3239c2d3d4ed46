"""The demo's shard: `constellation serve` as a process of its own, started, killed and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.config import ShardConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from examples.demo.stores import DemoStore

LOWERED: Final = {
    "GLOBAL_INTERVAL_SECONDS": "2",
    "GLOBAL_MIN_INTERVAL_SECONDS": "5",
    "DRAIN_SECONDS": "1",
}
"""What is shorter than the defaults, so that a week fits into a minute."""
REGION: Final = {"REGION": "your region"}
"""Devices are told it with every trend, and say it in their reasons."""

COMMAND: Final = Path(sys.executable).with_name("constellation")
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0


class DemoError(Exception):
    """The demo cannot go on, or what it checked does not hold; the message says why."""


@dataclass(slots=True)
class _Life:
    """One process, from its start to its end."""

    process: asyncio.subprocess.Process
    started: asyncio.Future[int]
    """The port, once it serves."""
    log: asyncio.Task[None]


class ShardProcess:
    """One store and one port, served by one process at a time."""

    def __init__(self, folder: Path, store: DemoStore) -> None:
        self.store = store
        self.port = 0
        self.kills = 0
        self._log_file = folder / "shard.log"
        self._life: _Life | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, store: DemoStore) -> AsyncIterator[ShardProcess]:
        """Start a shard; whatever runs when the block is left is ended."""
        shard = cls(folder, store)
        try:
            await shard.start()
            yield shard
        finally:
            if shard.up:
                await shard._end(signal.SIGKILL)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def up(self) -> bool:
        """A process runs, and nobody has asked it to end."""
        return self._life is not None

    @property
    def pid(self) -> int:
        assert self._life is not None
        return self._life.process.pid

    async def start(self) -> None:
        """Return once the shard serves; a second time, it serves on the same port."""
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            "serve",
            env=self._environment() | REGION | LOWERED | {"GRPC_ADDR": self.address, "METRICS_ADDR": "127.0.0.1:0", "REST_ADDR": "127.0.0.1:0"},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours; we end the shard
        )
        started = asyncio.get_running_loop().create_future()
        log = asyncio.create_task(self._follow(process, started), name="shard_log")
        self._life = _Life(process, started, log)
        self.port = await asyncio.wait_for(started, _START_SECONDS)

    async def kill(self) -> None:
        """End the shard as a power failure would: without a word."""
        self.kills += 1
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask the shard to drain; return its exit status."""
        return await self._end(signal.SIGTERM)

    async def check(self) -> tuple[int, str]:
        """Run `constellation check` on the stopped shard; return its exit status and its answer."""
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            "check",
            env=self._environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        last_line = said.decode().strip().rpartition("\n")[2]
        return await process.wait(), last_line

    async def _end(self, number: signal.Signals) -> int:
        life, self._life = self._life, None
        assert life is not None
        if life.process.returncode is None:
            life.process.send_signal(number)
        try:
            status = await asyncio.wait_for(life.process.wait(), _STOP_SECONDS)
        except TimeoutError:
            life.process.kill()
            status = await life.process.wait()
        await life.log
        return status

    async def _follow(
        self, process: asyncio.subprocess.Process, started: asyncio.Future[int]
    ) -> None:
        """Keep the shard's log in a file, and find its port there."""
        assert process.stderr is not None
        with self._log_file.open("ab", buffering=0) as file:
            async for line in process.stderr:
                file.write(line)
                if b'"shard_started"' in line and not started.done():
                    started.set_result(int(json.loads(line)["port"]))
        if not started.done():
            started.set_exception(DemoError(f"the shard did not start: see {self._log_file}"))

    def _environment(self) -> dict[str, str]:
        """Return our own environment, with every setting of a shard but this one left alone."""
        settings = {setting.name.upper() for setting in fields(ShardConfig)}
        kept = {name: value for name, value in os.environ.items() if name not in settings}
        return {**kept, **self.store.environment}
