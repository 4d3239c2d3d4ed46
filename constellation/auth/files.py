"""Files of keys, certificates and lists: who may read them, and what happens when they change."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from constellation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_FileVersion = tuple[int, int, int]
"""Changes when a file is replaced; zeros when there is none."""
T = TypeVar("T")

MAX_FILE_BYTES: Final = 1 << 20
"""The most that a file of keys, certificates or a token may have."""

_OTHERS: Final = 0o077
"""The permissions on a secret file that nobody but its owner may have."""
_OTHERS_OF_ROOT: Final = 0o037
"""The same for a file that root owns, which a service may read through its group.

Kubernetes mounts a Secret like that. PostgreSQL has the same rule for the key of its certificate.
"""


class ReloadedFiles(Generic[T]):
    """A value that is read from files, which may be replaced while the process runs.

    Files that are wrong change nothing: the value before them stays in use.
    """

    def __init__(
        self, paths: Sequence[Path], read: Callable[[], T], *, interval_seconds: float = 1.0
    ) -> None:
        """Read the value. Raises what `read` raises: ConfigError when a file is wrong.

        Args:
            paths: the files.
            read: returns the value that they have now.
            interval_seconds: how often they are looked at.
        """
        self._paths = paths
        self._read = read
        self._interval_seconds = interval_seconds
        self._version = self._read_version()  # before the value, which may be newer, never older
        self._value = read()
        self._refused_version: tuple[_FileVersion, ...] | None = None
        """The files that were wrong when they were read last. They are not read again."""
        self._looked_at = time.monotonic()
        self.problem = ""
        """Why the present files are not in use, and the former ones still are."""

    def get(self) -> T:
        """Return the value of the files as they are now, give or take the interval."""
        now = time.monotonic()
        if now - self._looked_at < self._interval_seconds:
            return self._value
        self._looked_at = now
        version = self._read_version()
        if version == self._version:
            self.problem = ""
        elif version != self._refused_version:
            self._reload(version)
        return self._value

    def _reload(self, version: tuple[_FileVersion, ...]) -> None:
        try:
            self._value = self._read()
        except ConfigError as error:
            self._refused_version, self.problem = version, str(error)
        else:
            self._version, self.problem = version, ""

    def _read_version(self) -> tuple[_FileVersion, ...]:
        return tuple(_read_version(path) for path in self._paths)


def _read_version(path: Path) -> _FileVersion:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def read_limited(path: Path, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a file. Raises OSError, also when it has more than `limit_bytes`.

    A device without end, such as /dev/zero, would take all memory.
    """
    with path.open("rb") as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, f"has more than {limit_bytes:,} bytes", str(path))
    return data


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Write a file, or leave what it was: all or nothing, and durable. Raises OSError.

    A file that is there keeps its owner and its mode, so that whoever reads it still can. Only a
    regular file is replaced.
    """
    path = path.resolve()
    before = path.stat() if path.exists() else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            if before is not None:
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
                with suppress(PermissionError):  # only root may give a file away
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def require_secret(path: Path) -> None:
    """Raise ConfigError when anybody but its owner may use a file that holds a secret.

    A file that cannot be examined passes: reading it then says what is wrong.
    """
    try:
        found = path.stat()
    except OSError:
        return
    mode, forbidden = stat.S_IMODE(found.st_mode), _OTHERS if found.st_uid else _OTHERS_OF_ROOT
    if stat.S_ISREG(found.st_mode) and mode & forbidden:
        raise ConfigError(
            f"{path} holds a secret, and its mode {mode:04o} lets others use it: run "
            f"`chmod 600 {path}`, and make the secret anew if somebody may have read it"
        )
