"""Servers to measure, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class StartedServer:
    """A running server, and the port of 127.0.0.1 that it listens on."""

    process: subprocess.Popen[str]
    port: int


@contextmanager
def start_server(module: str, *arguments: str) -> Iterator[StartedServer]:
    """Run a module of benchmarks/ that prints its port once it serves, during the block."""
    with subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"benchmarks.{module} ended before it served")
            yield StartedServer(process, int(line))
        finally:
            process.kill()
