"""What is wrong with the device's file, in words, and whether writes fail at present."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("constellation_settop")

_PERMISSION: Final = "give a directory that exists and that this process may write"
_REMEDIES: Final = {
    sqlite3.SQLITE_BUSY: "it is open in another process: end that one, or use another directory",
    sqlite3.SQLITE_LOCKED: "it is open in another process: end that one, or use another directory",
    sqlite3.SQLITE_FULL: "free space on the disk",
    sqlite3.SQLITE_IOERR: "check the disk, and the space on it",
    sqlite3.SQLITE_CANTOPEN: _PERMISSION,
    sqlite3.SQLITE_READONLY: _PERMISSION,
    sqlite3.SQLITE_PERM: _PERMISSION,
    sqlite3.SQLITE_CORRUPT: "open the device again: a damaged file is moved aside then",
    sqlite3.SQLITE_NOTADB: "open the device again: a damaged file is moved aside then",
}
"""What to do, by SQLite's primary error code."""
_PRIMARY_CODE: Final = 0xFF


def explain_error(error: sqlite3.Error | OSError) -> str:
    """Return what went wrong, and what to do about it."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {_PERMISSION}"
    code = getattr(error, "sqlite_errorcode", 0)  # errors of the sqlite3 module itself have none
    remedy = _REMEDIES.get(code & _PRIMARY_CODE)
    return f"{error}: {remedy}" if remedy else str(error)


@contextmanager
def explain_read_errors() -> Iterator[None]:
    """Raise StorageError when the block cannot read the file."""
    try:
        yield
    except sqlite3.Error as error:
        message = f"the device's file cannot be read: {explain_error(error)}"
        raise StorageError(message) from error


class WriteProblem:
    """Whether the file takes no writes at present. It is logged once when that begins and ends."""

    def __init__(self) -> None:
        self.text: str | None = None
        """Why the last write failed; None while writes succeed."""

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note whether the block, which writes, raises StorageError."""
        try:
            yield
        except StorageError as error:
            if self.text is None:
                log.warning("%s; until then, what is learned stays in memory", error)
            self.text = str(error)
            raise
        if self.text is not None:
            log.info("the device's file can be written again")
            self.text = None
