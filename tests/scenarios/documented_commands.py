"""The commands of a page of docs/, typed into bash from top to bottom at ports that are free."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from testing.ports import find_free_address
from tests.scenarios.processes import COMMAND_DIR, make_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
INSTALL = 'make install\nexport PATH="$PWD/.venv/bin:$PATH"\n'
DEFAULT_PORTS = {
    "constellation": {"GRPC_ADDR": 50051, "REST_ADDR": 8080, "METRICS_ADDR": 9090},
    "federation": {"GRPC_ADDR": 50052, "REST_ADDR": 8081, "METRICS_ADDR": 9091},
}
"""Where the programs listen, and where they ask, when no variable names another address."""
SECOND_SHARD_PORTS = (50061, 8090, 9190)
_SHELL_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_SAVED_FILE = re.compile(r"Save this as `([\w.-]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class BashResult:
    """How the commands of a page ended."""

    status: int
    out: str
    """Standard output and standard error, in the order in which they were written."""


def find_addresses() -> dict[int, str]:
    """Return a free address of this machine for each port that a page may name."""
    named = [port for ports in DEFAULT_PORTS.values() for port in ports.values()]
    return {port: find_free_address() for port in (*named, *SECOND_SHARD_PORTS)}


def read_commands(text: str, addresses: Mapping[int, str]) -> str:
    """Return the shell commands of a text that begins with the installation, without it."""
    blocks = _SHELL_BLOCK.findall(text)
    assert blocks[0] == INSTALL
    commands = "".join(blocks[1:])
    if shutil.which("curl") is None:
        lines = commands.splitlines(keepends=True)
        commands = "".join(line for line in lines if not line.startswith("curl"))
    return "set -eux\n" + _replace_addresses(commands, addresses)


def save_files(text: str, directory: Path, addresses: Mapping[int, str]) -> list[str]:
    """Write the files that a text tells its reader to save; return their names."""
    files = _SAVED_FILE.findall(text)
    for name, content in files:
        (directory / name).write_text(_replace_addresses(content, addresses))
    return [name for name, _ in files]


def make_programs(directory: Path, addresses: Mapping[int, str]) -> str:
    """Return a PATH on which the programs' default addresses are the free ones."""
    directory.mkdir()
    for program, ports in DEFAULT_PORTS.items():
        lines = [f'export {name}="${{{name}:-{addresses[port]}}}"' for name, port in ports.items()]
        script = directory / program
        script.write_text(
            "\n".join(["#!/bin/sh", *lines, f'exec {COMMAND_DIR / program} "$@"', ""])
        )
        script.chmod(0o755)
    return f"{directory}:{COMMAND_DIR}:{os.environ['PATH']}"


def run_in_bash(commands: str, directory: Path, path: str, timeout_seconds: float) -> BashResult:
    """Run commands in a new bash, which is killed with its children at the time limit."""
    environment = make_environment(drain_seconds=2)
    for name in DEFAULT_PORTS["constellation"]:
        environment.pop(name, None)
    with subprocess.Popen(
        ["bash", "-c", commands],
        cwd=directory,
        env={**environment, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as bash:
        try:
            out, _ = bash.communicate(timeout=timeout_seconds)
        finally:
            if bash.poll() is None:
                os.killpg(bash.pid, signal.SIGKILL)
    return BashResult(bash.returncode, out)


def _replace_addresses(text: str, addresses: Mapping[int, str]) -> str:
    for port, address in addresses.items():
        text = re.sub(rf"(?:localhost|0\.0\.0\.0):{port}\b", address, text)
    return text
