"""What a benchmark ran on: the machine and the versions, for every row of the report."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("faiss-cpu", "grpcio", "numpy", "protobuf", "uvloop")
_CPU_INFO: Final = Path("/proc/cpuinfo")


@cache
def describe_machine() -> str:
    """Return the processor, the number of cores that this process may use, and the memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{_read_processor()}, {cores} cores, {memory:.0f} GiB, {platform.system()}"


def _read_processor() -> str:
    """Return the processor's name; what Python calls it where Linux gives none."""
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def list_versions() -> dict[str, str]:
    """Return the versions of Python, of what the speed depends on, and of this code."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{package: version(package) for package in _PACKAGES},
        "commit": _read_commit(),
    }


def _read_commit() -> str:
    """Return the commit that is checked out; "unknown" outside of a repository."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
