"""deploy/compose/compose.yaml, and its services as processes of this machine."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import yaml

from tests.deploy.prometheus import ROOT
from tests.scenarios.processes import COMMAND_DIR, DEADLINE_SECONDS, CommandResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


def read_compose_file() -> dict[str, Any]:
    """Return the file as compose reads it when no variable is set."""
    read: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(r"\1", FILE.read_text()))
    return read


def read_services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = read_compose_file()["services"]
    return found


def replace_locations(text: str, locations: Mapping[str, str]) -> str:
    """Replace paths and addresses inside containers by those on this machine."""
    pattern = re.compile("|".join(map(re.escape, locations)))
    return pattern.sub(lambda found: locations[found[0]], text)


async def start_service(
    name: str, locations: Mapping[str, str], **more: str
) -> asyncio.subprocess.Process:
    """Start the command of a service with the environment of the service."""
    service = read_services()[name]
    settings = {
        key: replace_locations(text, locations) for key, text in service["environment"].items()
    }
    path = f"{COMMAND_DIR}{os.pathsep}{os.environ['PATH']}"
    return await asyncio.create_subprocess_exec(
        *(replace_locations(word, locations) for word in service["command"]),
        env={"PATH": path, **settings, **more},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def run_service(
    name: str, locations: Mapping[str, str], **more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a service until the block is left, then kill it if it is still running."""
    process = await start_service(name, locations, **more)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def wait_for_exit(process: asyncio.subprocess.Process) -> CommandResult:
    """Wait until a process ends by itself, and return its result."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return CommandResult(process.returncode, out.decode(), err.decode())


async def run_command(*command: str | Path, **environment: str) -> CommandResult:
    """Run a command to its end with only PATH and this environment."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": f"{COMMAND_DIR}{os.pathsep}{os.environ['PATH']}", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        return await wait_for_exit(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
