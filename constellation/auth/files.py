"""Files that are replaced while a process runs: how it notices, without reading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FileVersion = tuple[int, int, int]
"""Changes when a file is replaced; zeros when there is none."""


def read_version(path: Path) -> FileVersion:
    """Return the version of a file."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)
