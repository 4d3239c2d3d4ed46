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
    from collections.abc import Iterator
    from pathlib import Path


log = structlog.get_logger(__name__)

SHARD_DATABASE: Final = "shard.db"
JOURNAL_DATABASE: Final = "federation.db"


@contextmanager
def lock_directory(data_dir: Path) -> Iterator[None]:
    """Lock a directory for this process during the block; create the directory when missing.

    The kernel releases the lock when the process ends, even if it crashes. Raises StoreInUseError
    when another process has the lock, and ConfigError when the directory cannot be written.
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
        _acquire_lock(lock, data_dir)
        _warn_of_readers(data_dir)
        yield
    finally:
        os.close(lock)


def require_absent(data_dir: Path, database: str, owner: str) -> None:
    """Raise ConfigError when the directory has a database of another kind of process."""
    if (data_dir / database).exists():
        raise ConfigError(f"DATA_DIR={data_dir} holds {owner} ({database}): name another directory")


def lock_path(data_dir: Path) -> Path:
    """Return the path of the file that the process which uses the directory holds locked."""
    return data_dir / "LOCK"


def read_or_create_owner(data_dir: Path) -> str:
    """Return the owner name that the directory stores; create and store one when there is none.

    Only one process at a time has the lock of the directory. The next one therefore uses the same
    name, and need not wait for the lease of the last one. On another machine, a copy of the
    directory gets a new name.
    """
    file = data_dir / "OWNER"
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


def _acquire_lock(lock: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise StoreInUseError(
            f"{data_dir} is in use by process {holder}: stop it, or name another DATA_DIR"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
