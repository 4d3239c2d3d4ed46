"""How much memory and disk this process uses, and how much it may."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from typing import Final

_CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


def read_resident_bytes() -> int:
    """Return the memory that this process has in RAM."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def read_memory_limit(path: Path = _CGROUP_LIMIT) -> int | None:
    """Return the memory limit of the container in bytes; None where there is none."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:  # not Linux, or the older cgroups
        return None
    return None if text == "max" else int(text)


def read_disk_share(folder: Path) -> float:
    """Return which share of a file system is used, from 0 to 1; 0 when the folder is gone.

    A write there reports a better error.
    """
    try:
        usage = shutil.disk_usage(folder)
    except FileNotFoundError:
        return 0.0
    return 1 - usage.free / usage.total
