"""KeyFile: the keys of a file, which may be replaced while the process runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.auth.files import ReloadedFiles
from constellation.auth.keys import KeyRing, read_key_ring
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


class KeyFile:
    """A file of keys. Raises ConfigError at the start; later, a wrong file changes nothing."""

    def __init__(self, path: Path, *, must_be_public: bool = False) -> None:
        """Read the file. With `must_be_public`, one with a key that can sign is a wrong file."""
        self._path = path
        self._must_be_public = must_be_public
        self._file = ReloadedFiles([path], self._read_file)

    @property
    def reload_problem(self) -> str:
        """Why the present file is not in use, and the former keys still are; "" when it is."""
        return self._file.problem

    def read(self) -> KeyRing:
        """Return the keys as they are now, give or take a second."""
        return self._file.get()

    def _read_file(self) -> KeyRing:
        ring = read_key_ring(self._path)
        if self._must_be_public and ring.signer is not None:
            raise ConfigError(
                f"{self._path} has the key {ring.signer.key_id}, which can sign, and only public "
                "keys belong here: write them with `constellation keys public`"
            )
        return ring
