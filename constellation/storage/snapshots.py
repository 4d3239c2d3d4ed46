"""Index snapshots on disk. The name of each contains the lsn at which it was taken."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from constellation.storage.data_dir import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

log = structlog.get_logger(__name__)

_HEADER: Final = struct.Struct("<8sqQI")
"""Magic, lsn, length of the payload in bytes, CRC-32 of lsn, length and payload."""
_MAGIC: Final = b"CONSTIX1"
_PREFIX: Final = "index-"
_SUFFIX: Final = ".snapshot"


class IndexSnapshots:
    """The index snapshots in one directory. Every method blocks on the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, lsn: int, payload: NDArray[np.uint8] | bytes) -> None:
        """Write one snapshot durably, then delete the others. Raises OSError, for a full disk."""
        body = memoryview(payload) if isinstance(payload, bytes) else payload.data
        path = self._directory / f"{_PREFIX}{lsn}{_SUFFIX}"
        unfinished_path = path.with_suffix(".unfinished")
        header = _HEADER.pack(_MAGIC, lsn, len(body), _compute_checksum(lsn, body))
        try:
            with unfinished_path.open("wb") as file:
                file.write(header)
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            unfinished_path.unlink(missing_ok=True)  # otherwise it would take space on a full disk
            raise
        unfinished_path.rename(path)
        sync_directory(self._directory)
        for other in self._directory.glob(f"{_PREFIX}*"):
            if other != path:
                other.unlink()

    def read(self) -> tuple[int, NDArray[np.uint8]] | None:
        """Return the lsn and the payload of the newest snapshot with a right checksum, or None."""
        for lsn, path in self._list_newest_first():
            payload = _parse_snapshot(lsn, path.read_bytes())
            if payload is not None:
                return lsn, payload
            log.warning("snapshot_unusable", path=str(path))
        return None

    def find_newest(self) -> tuple[int, str] | None:
        """Return the lsn in the name of the newest snapshot, and its path, even if it is damaged.

        A store with a lower lsn has lost commits.
        """
        return next(((lsn, str(path)) for lsn, path in self._list_newest_first()), None)

    def discard(self) -> None:
        """Delete every snapshot, complete or not."""
        for file in self._directory.glob(f"{_PREFIX}*"):
            file.unlink()

    def _list_newest_first(self) -> Iterator[tuple[int, Path]]:
        named = (
            (path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX), path)
            for path in self._directory.glob(f"{_PREFIX}*{_SUFFIX}")
        )
        yield from sorted(
            ((int(lsn), path) for lsn, path in named if lsn.isdecimal()), reverse=True
        )


def _parse_snapshot(lsn: int, data: bytes) -> NDArray[np.uint8] | None:
    if len(data) < _HEADER.size:
        return None
    magic, written_lsn, length, checksum = _HEADER.unpack_from(data)
    body = memoryview(data)[_HEADER.size :]
    if (magic, written_lsn, length, checksum) != (
        _MAGIC,
        lsn,
        len(body),
        _compute_checksum(lsn, body),
    ):
        return None
    return np.frombuffer(body, np.uint8)


def _compute_checksum(lsn: int, body: memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<qQ", lsn, len(body))))
