"""FileGuard: notices that open files were removed or replaced, before anything more is acked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.errors import StoreFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class FileGuard:
    """Remembers which files some paths named; what is written to others would be lost.

    A file that is removed while it is open takes writes and fsyncs as before, and is gone at the
    end of the process. Each check takes a few microseconds.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Remember the files that exist now. Raises StoreFailedError when one is missing."""
        self._files = {path: _identify(path) for path in paths}
        self.require_intact()

    def require_intact(self) -> None:
        """Raise StoreFailedError unless every path still names the file it named."""
        for path, identity in self._files.items():
            if identity is None or _identify(path) != identity:
                raise StoreFailedError(
                    f"{path} was removed or replaced while it was open: what is written now would "
                    "be lost; put the directory back, or restore a backup, and start again"
                )


def _identify(path: Path) -> tuple[int, int] | None:
    """Return what stays the same as long as a path names the same file; None if it names none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
