"""KeyFile: the keys of a file, which may be replaced while the process runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from constellation.auth.files import read_version
from constellation.auth.keys import KeyRing, read_key_ring
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_RELOAD_SECONDS: Final = 1.0
"""How often the file is looked at."""


class KeyFile:
    """A file of keys. Raises ConfigError at the start; later, a wrong file changes nothing."""

    def __init__(self, path: Path, *, must_be_public: bool = False) -> None:
        """Read the file. With `must_be_public`, one with a key that can sign is a wrong file."""
        self._path = path
        self._must_be_public = must_be_public
        self._version = read_version(path)  # before its keys, which may be newer then, never older
        self._ring = self._read_file()
        self._looked_at = time.monotonic()
        self.reload_problem = ""
        """Why the present file is not in use; the keys before it are."""

    def read(self) -> KeyRing:
        """Return the keys as they are now, give or take a second."""
        now = time.monotonic()
        if now - self._looked_at < _RELOAD_SECONDS:
            return self._ring
        self._looked_at = now
        version = read_version(self._path)
        if version == self._version:
            self.reload_problem = ""
            return self._ring
        try:
            self._ring = self._read_file()
        except ConfigError as error:
            self.reload_problem = str(error)
        else:
            self._version, self.reload_problem = version, ""
        return self._ring

    def _read_file(self) -> KeyRing:
        ring = read_key_ring(self._path)
        if self._must_be_public and ring.signer is not None:
            raise ConfigError(
                f"{self._path} has the key {ring.signer.key_id}, which can sign, and only public "
                "keys belong here: write them with `constellation keys public`"
            )
        return ring
