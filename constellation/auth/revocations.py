"""RevokedDevices: the devices whose tokens and claims are refused, whoever signed them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from constellation.auth.files import ReloadedFiles, read_limited, write_whole
from constellation.encoding import ID_BYTES
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MAX_LIST_BYTES: Final = 32 << 20
"""The most that a list may have, with its notes."""
_LIST_MODE: Final = 0o644
MAX_REVOKED: Final = 65_536
"""Devices that a list may have: beyond that, revoke the key of the vendor that admitted them."""


class RevokedDevices:
    """The devices of a file, which may be replaced at any time, and those of the global state."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file; None for no file. Raises ConfigError when it is wrong."""
        self._file = ReloadedFiles([path], partial(read_revoked_file, path)) if path else None
        self._of_global: frozenset[bytes] = frozenset()

    @property
    def reload_problem(self) -> str:
        """Why the present file is not in use, and the former list still is; "" when it is."""
        return self._file.problem if self._file else ""

    def __contains__(self, device_id: bytes) -> bool:
        return device_id in self._read_file() or device_id in self._of_global

    @property
    def ids(self) -> frozenset[bytes]:
        """Return all of them."""
        return self._read_file() | self._of_global

    def replace_global(self, device_ids: Iterable[bytes]) -> None:
        """Replace the list of the last global state by that of a new one."""
        self._of_global = frozenset(device_ids)

    def _read_file(self) -> frozenset[bytes]:
        return self._file.get() if self._file else frozenset()


def read_revoked_file(path: Path) -> frozenset[bytes]:
    """Return the device ids of a file: one in hex digits on each line; what follows is a note.

    A file that does not exist has none. Raises ConfigError for a line that is no device id.
    """
    try:
        lines = read_limited(path, _MAX_LIST_BYTES).decode("utf-8").splitlines()
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    found = set()
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            device_id = bytes.fromhex(text)
        except ValueError:
            device_id = b""
        if len(device_id) != ID_BYTES:
            raise ConfigError(
                f"{path}, line {number}: {text[:40]!r} is no device id of {2 * ID_BYTES} hex digits"
            )
        found.add(device_id)
    if len(found) > MAX_REVOKED:
        raise ConfigError(
            f"{path} revokes {len(found)} devices, and the most is {MAX_REVOKED}: revoke the key "
            "of their vendor instead"
        )
    return frozenset(found)


def append_revoked(path: Path, device_id: bytes, reason: str) -> bool:
    """Add a device to a file, and return whether it was not there before. Raises ConfigError.

    A disk that is full leaves the list as it was, and a last line without its end gets one.
    """
    if device_id in read_revoked_file(path):
        return False
    note = f"  # {reason}" if reason else ""
    try:
        before = read_limited(path, _MAX_LIST_BYTES) if path.exists() else b""
        end = b"" if before.endswith(b"\n") or not before else b"\n"
        line = f"{device_id.hex()}{note}\n"
        write_whole(path, before + end + line.encode(), _LIST_MODE)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return True
