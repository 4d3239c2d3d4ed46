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
    end of the process. A few microseconds for each look.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Remember the files that exist now. Raises FileNotFoundError when one is missing."""
        self._files = {path: _identify(path) for path in paths}

    def require_intact(self) -> None:
        """Raise StoreFailedError unless every path still names the file it named."""
        for path, identity in self._files.items():
            try:
                is_intact = _identify(path) == identity
            except OSError:
                is_intact = False
            if not is_intact:
                raise StoreFailedError(
                    f"{path} was removed or replaced while it was open: what is written now would "
                    "be lost; put the directory back, or restore a backup, and start again"
                )


def _identify(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
