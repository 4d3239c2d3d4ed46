"""A server of the demo as a process of its own: started, killed, started again, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.config import ShardConfig
from federation.config import FederationConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMANDS: Final = Path(sys.executable).parent
ANYWHERE: Final = "127.0.0.1:0"
SIDE_PORTS: Final = {"METRICS_ADDR": ANYWHERE, "REST_ADDR": ANYWHERE}
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0


class DemoError(Exception):
    """The demo cannot go on, or what it checked does not hold; the message says why."""


@dataclass(slots=True)
class _Life:
    """One process, from its start to its end."""

    process: asyncio.subprocess.Process
    port: asyncio.Future[int]
    """Known once it serves."""
    log: asyncio.Task[None]


class ServerProcess:
    """One command that serves, run by one process at a time; its log goes to a file."""

    def __init__(self, command: Sequence[str], ready: str, log_file: Path) -> None:
        """Take what to run, and the event in its log that says it serves."""
        self._command = (str(COMMANDS / command[0]), *command[1:])
        self._ready = ready
        self.log_file = log_file
        self._life: _Life | None = None

    @property
    def up(self) -> bool:
        """A process runs, and nobody has asked it to end."""
        return self._life is not None

    @property
    def crashed(self) -> bool:
        """A process ended that nobody has asked to."""
        return self._life is not None and self._life.process.returncode is not None

    @property
    def pid(self) -> int:
        assert self._life is not None
        return self._life.process.pid

    async def start(self, settings: Mapping[str, str]) -> int:
        """Return the port, once it serves."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=environment(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours; we end it
        )
        port = asyncio.get_running_loop().create_future()
        log = asyncio.create_task(self._follow(process, port), name="server_log")
        self._life = _Life(process, port, log)
        return await asyncio.wait_for(port, _START_SECONDS)

    async def end(self, number: signal.Signals) -> int:
        """End it by a signal; return its exit status, which is negative for one that kills."""
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

    async def end_if_up(self) -> None:
        if self.up:
            await self.end(signal.SIGKILL)

    async def _follow(self, process: asyncio.subprocess.Process, port: asyncio.Future[int]) -> None:
        """Keep the log in a file, and find there on which port it serves, and that it does."""
        assert process.stderr is not None
        found = 0
        with self.log_file.open("ab", buffering=0) as file:
            async for line in process.stderr:
                file.write(line)
                if port.done() or not line.startswith(b"{"):
                    continue
                said = json.loads(line)
                found = said.get("port", found)
                if said["event"] == self._ready:
                    port.set_result(int(found))
        if not port.done():
            port.set_exception(DemoError(f"it did not start: see {self.log_file}"))


async def answer_of(command: Sequence[str], settings: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end; return its exit status and the last line it said."""
    process = await asyncio.create_subprocess_exec(
        str(COMMANDS / command[0]),
        *command[1:],
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return await process.wait(), said.decode().strip().rpartition("\n")[2]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our own environment, in which these are the only settings of a server."""
    known = {
        field.name.upper() for kind in (ShardConfig, FederationConfig) for field in fields(kind)
    }
    kept = {name: value for name, value in os.environ.items() if name not in known}
    return {**kept, **settings}
