"""docs/operations.md, "All of it on one machine", typed into bash from top to bottom."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.scenarios.processes import COMMAND_DIR, make_environment
from tests.scenarios.sdk_devices import find_free_address

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"^## All of it on one machine$(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
INSTALL = 'make install\nexport PATH="$PWD/.venv/bin:$PATH"\n'
TIMEOUT_SECONDS = 240
PORTS = {
    "constellation": {"GRPC_ADDR": 50051, "REST_ADDR": 8080, "METRICS_ADDR": 9090},
    "federation": {"GRPC_ADDR": 50052, "REST_ADDR": 8081, "METRICS_ADDR": 9091},
}
"""Where the programs listen, and ask, unless they are told otherwise."""
SECOND_SHARD_PORTS = (50061, 8090, 9190)


def read_commands(addresses: Mapping[int, str]) -> str:
    """Return the section's commands, all in one, at ports that nobody has."""
    (section,) = SECTION.findall((ROOT / "docs" / "operations.md").read_text())
    blocks = BLOCK.findall(section)
    assert blocks[0] == INSTALL
    text = "".join(blocks[1:])
    if shutil.which("curl") is None:
        text = "".join(
            line for line in text.splitlines(keepends=True) if not line.startswith("curl")
        )
    for port, address in addresses.items():
        text = re.sub(rf"(?:localhost|0\.0\.0\.0):{port}\b", address, text)
    return "set -eux\n" + text


@pytest.fixture
def addresses() -> dict[int, str]:
    """Return an address for each port of the section."""
    named = [port for ports in PORTS.values() for port in ports.values()]
    return {port: find_free_address() for port in (*named, *SECOND_SHARD_PORTS)}


@pytest.fixture
def program_path(tmp_path: Path, addresses: Mapping[int, str]) -> str:
    """Return a PATH on which the programs have other addresses, unless they are told some."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for program, ports in PORTS.items():
        lines = [f'export {name}="${{{name}:-{addresses[port]}}}"' for name, port in ports.items()]
        script = folder / program
        script.write_text(
            "\n".join(["#!/bin/sh", *lines, f'exec {COMMAND_DIR / program} "$@"', ""])
        )
        script.chmod(0o755)
    return f"{folder}:{COMMAND_DIR}:{os.environ['PATH']}"


@pytest.mark.timeout(TIMEOUT_SECONDS + 30)
def test_everything_an_operator_is_told_to_type_works(
    tmp_path: Path, program_path: str, addresses: Mapping[int, str]
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    inherited = make_environment(drain_seconds=2)
    for name in ("GRPC_ADDR", "REST_ADDR", "METRICS_ADDR"):
        inherited.pop(name, None)
    with subprocess.Popen(
        ["bash", "-c", read_commands(addresses)],
        cwd=place,
        env={**inherited, "PATH": program_path, "PYTHONPATH": str(ROOT), "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as bash:
        try:
            out, _ = bash.communicate(timeout=TIMEOUT_SECONDS)
        finally:
            if bash.poll() is None:
                os.killpg(bash.pid, signal.SIGKILL)

    logs = "\n".join(log.read_text()[-2000:] for log in sorted(place.glob("*.log")))
    assert bash.returncode == 0, out[-6000:] + logs
    assert "2 of 2 shards answered: 200 devices, 200 streams" in out
    assert "published\n  coverage  2 of 2 shards heard; 200 of 200 devices (100%)" in out
    assert out.count("ok: ") == 2
    assert (place / "trends.png").read_bytes().startswith(b"\x89PNG")
    assert (place / "map.html").stat().st_size > 100_000
