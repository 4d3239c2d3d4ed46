"""A data directory: made when missing, held by one process at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from constellation.errors import ConfigError, StoreInUseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def lock_directory(data_dir: Path) -> Iterator[None]:
    """Hold the directory's lock; the kernel lets go of it when the process ends, however it ends.

    Raises StoreInUseError when another process holds it, ConfigError when it cannot be written.
    """
    try:
        _create_directory(data_dir)
        lock = os.open(data_dir / "LOCK", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(
            f"DATA_DIR={data_dir} cannot be written ({error.strerror}): "
            "name a directory this user may write to, or change its owner"
        ) from error
    try:
        _acquire_lock(lock, data_dir)
        yield
    finally:
        os.close(lock)


def read_or_create_owner(data_dir: Path) -> str:
    """Return a name for whoever holds the directory, kept in it; made when there is none.

    The directory's lock makes it one process at a time, so the next one may follow the last
    without waiting. On another machine, a copied directory gets a name of its own.
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
    """Return a name that no other process has: its machine's, and something random."""
    return f"{socket.gethostname()}/{secrets.token_hex(8)}"


def sync_directory(directory: Path) -> None:
    """Make the directory's entries durable: a new or renamed file is not until then."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create_directory(data_dir: Path) -> None:
    if not data_dir.is_dir():
        data_dir.mkdir(parents=True, exist_ok=True)
        with suppress(PermissionError):  # a parent we may enter but not read
            sync_directory(data_dir.parent)


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
