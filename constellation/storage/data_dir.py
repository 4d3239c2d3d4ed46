"""A data directory: created when missing, and locked by one process at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

from constellation.errors import ConfigError, StoreInUseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


log = structlog.get_logger(__name__)

SHARD_DATABASE: Final = "shard.db"
JOURNAL_DATABASE: Final = "federation.db"
_OWNER_FILE: Final = "OWNER"
SHARD_FILES: Final = ((SHARD_DATABASE, "a shard"), (_OWNER_FILE, "a shard with POSTGRES_URL"))
"""The files by which a federation knows the directory of a shard, and what it then holds."""
JOURNAL_FILES: Final = ((JOURNAL_DATABASE, "the journal of a federation"),)
"""The files by which a shard knows the directory of a federation, and what it then holds."""


@contextmanager
def lock_directory(data_dir: Path, foreign_files: Sequence[tuple[str, str]] = ()) -> Iterator[None]:
    """Lock a directory for this process during the block; create the directory when missing.

    The kernel releases the lock when the process ends, even if it crashes. Raises StoreInUseError
    when another process has the lock, and ConfigError when the directory cannot be written or has
    one of `foreign_files`, those of another kind of process: to wait for its lock would be in vain.
    """
    try:
        _create_directory(data_dir)
        lock = os.open(lock_path(data_dir), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(
            f"DATA_DIR={data_dir} cannot be written ({error.strerror}): "
            "name a directory that this user may write to, or change the owner of this one"
        ) from error
    try:
        is_acquired = _acquire_lock(lock)
        _require_absent(data_dir, foreign_files)
        if not is_acquired:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreInUseError(
                f"{data_dir} is in use by process {holder}: stop it, or name another DATA_DIR"
            )
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        _warn_of_readers(data_dir)
        yield
    finally:
        os.close(lock)


def lock_path(data_dir: Path) -> Path:
    """Return the path of the file that the process which uses the directory holds locked."""
    return data_dir / "LOCK"


def read_or_create_owner(data_dir: Path) -> str:
    """Return the owner name that the directory stores; create and store one when there is none.

    Only one process at a time has the lock of the directory. The next one therefore uses the same
    name, and need not wait for the lease of the last one. On another machine, a copy of the
    directory gets a new name.
    """
    file = data_dir / _OWNER_FILE
    host = socket.gethostname()
    saved_owner = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    if saved_owner.rpartition("/")[0] == host:
        return saved_owner
    owner = generate_owner()
    file.write_text(f"{owner}\n", encoding="utf-8")
    return owner


def generate_owner() -> str:
    """Return a name that no other process has: the host name and a random number."""
    return f"{socket.gethostname()}/{secrets.token_hex(8)}"


def sync_directory(directory: Path) -> None:
    """Make new and renamed files of a directory durable. They are not durable before."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create_directory(data_dir: Path) -> None:
    if not data_dir.is_dir():
        data_dir.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):  # this user may enter the parent but not read it
            sync_directory(data_dir.parent)


def _warn_of_readers(data_dir: Path) -> None:
    """Warn when every user of this machine may read a database, as one of an earlier version."""
    if not data_dir.stat().st_mode & stat.S_IXOTH:
        return  # nobody else may enter
    for name in (SHARD_DATABASE, JOURNAL_DATABASE):
        database = data_dir / name
        if database.exists() and database.stat().st_mode & stat.S_IROTH:
            log.warning(
                "data_readable",
                path=str(database),
                problem=f"every user of this machine may read it: run `chmod -R go= {data_dir}`",
            )


def _acquire_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _require_absent(data_dir: Path, foreign_files: Sequence[tuple[str, str]]) -> None:
    for name, content in foreign_files:
        if (data_dir / name).exists():
            raise ConfigError(
                f"DATA_DIR={data_dir} holds {content} ({name}): name another directory"
            )
