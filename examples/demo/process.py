"""A server of the demo as a process that can be started, killed, restarted and stopped."""

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

COMMANDS_FOLDER: Final = Path(sys.executable).parent
ANY_PORT: Final = "127.0.0.1:0"
SIDE_PORTS: Final = {"METRICS_ADDR": ANY_PORT, "REST_ADDR": ANY_PORT}
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0


class DemoError(Exception):
    """The demo cannot continue. The message says why."""


@dataclass(slots=True)
class _RunningProcess:
    """One process, from start to end."""

    process: asyncio.subprocess.Process
    port: asyncio.Future[int]
    """The port it serves on, once it is ready."""
    log: asyncio.Task[None]
    """The task that follows its log."""


class ServerProcess:
    """A server command, run by one process at a time. Its log goes to a file."""

    def __init__(self, command: Sequence[str], ready_event: str, log_file: Path) -> None:
        """Prepare a command; `ready_event` is the log event that says it serves."""
        self._command = (str(COMMANDS_FOLDER / command[0]), *command[1:])
        self._ready_event = ready_event
        self.log_file = log_file
        self._running: _RunningProcess | None = None

    @property
    def is_up(self) -> bool:
        """True while a process runs that was not asked to end, or has crashed."""
        return self._running is not None

    @property
    def has_crashed(self) -> bool:
        """True when the process ended without being asked to."""
        return self._running is not None and self._running.process.returncode is not None

    @property
    def pid(self) -> int:
        """The id of the process that runs."""
        assert self._running is not None
        return self._running.process.pid

    async def start(self, settings: Mapping[str, str]) -> int:
        """Start a process, and return its port once it serves.

        Raises DemoError when it ends before, and TimeoutError when it takes too long.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=make_environment(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # so that Ctrl-C reaches the demo only, which then ends it
        )
        port = asyncio.get_running_loop().create_future()
        log = asyncio.create_task(self._follow_log(process, port), name="server_log")
        self._running = _RunningProcess(process, port, log)
        return await asyncio.wait_for(port, _START_SECONDS)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; return the exit code, negative for a signal.

        A process that does not end in time is killed.
        """
        running, self._running = self._running, None
        assert running is not None
        if running.process.returncode is None:
            running.process.send_signal(number)
        try:
            status = await asyncio.wait_for(running.process.wait(), _STOP_SECONDS)
        except TimeoutError:
            running.process.kill()
            status = await running.process.wait()
        await running.log
        return status

    async def kill_if_running(self) -> None:
        """Kill the process, if there is one."""
        if self.is_up:
            await self.end(signal.SIGKILL)

    async def _follow_log(
        self, process: asyncio.subprocess.Process, port: asyncio.Future[int]
    ) -> None:
        """Copy the log to the file, and set `port` once the log says that the process serves."""
        assert process.stderr is not None
        found = 0
        with self.log_file.open("ab", buffering=0) as file:
            async for line in process.stderr:
                file.write(line)
                if port.done() or not line.startswith(b"{"):
                    continue
                event = json.loads(line)
                found = event.get("port", found)
                if event["event"] == self._ready_event:
                    port.set_result(int(found))
        if not port.done():
            port.set_exception(DemoError(f"{self._command[0]} did not start; see {self.log_file}"))


async def run_command(command: Sequence[str], settings: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end; return its exit code and the last line of its output."""
    process = await asyncio.create_subprocess_exec(
        str(COMMANDS_FOLDER / command[0]),
        *command[1:],
        env=make_environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return await process.wait(), output.decode().strip().rpartition("\n")[2]


def make_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process, with these as the only settings of a server."""
    known = {
        field.name.upper() for kind in (ShardConfig, FederationConfig) for field in fields(kind)
    }
    kept = {name: value for name, value in os.environ.items() if name not in known}
    return {**kept, **settings}
