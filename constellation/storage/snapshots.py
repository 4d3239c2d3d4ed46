"""Index snapshots on disk. The name of each contains the lsn at which it was taken.

FAISS trusts the bytes that it restores an index from: some changed ones would end the process. So a
snapshot carries a message authentication code under the secret of its shard, and one that is not as
the shard wrote it is never restored.
"""

from __future__ import annotations

import hmac
import os
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from constellation.storage.data_dir import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

log = structlog.get_logger(__name__)

_HEADER: Final = struct.Struct("<8sqQ32s")
"""Magic, lsn, length of the payload in bytes, and the code of lsn, length and payload."""
_MAGIC: Final = b"CONSTIX2"
_CODE_BYTES: Final = 32
_PURPOSE: Final = b"index snapshot"
"""Keeps the codes of snapshots apart from whatever else is computed with the secret."""
_PREFIX: Final = "index-"
_SUFFIX: Final = ".snapshot"


class IndexSnapshots:
    """The index snapshots in one directory. Every method blocks on the disk."""

    def __init__(self, directory: Path, secret: bytes) -> None:
        """`secret` is that of the shard's store: only its snapshots are read."""
        self._directory = directory
        self._secret = secret

    def write(self, lsn: int, payload: NDArray[np.uint8] | bytes) -> None:
        """Write one snapshot durably, then delete the others. Raises OSError, for a full disk."""
        body = memoryview(payload) if isinstance(payload, bytes) else payload.data
        path = self._directory / f"{_PREFIX}{lsn}{_SUFFIX}"
        unfinished_path = path.with_suffix(".unfinished")
        header = _HEADER.pack(_MAGIC, lsn, len(body), self._compute_code(lsn, body))
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
        """Return the lsn and the payload of the newest snapshot that this shard wrote, or None."""
        for lsn, path in self._list_newest_first():
            try:
                return lsn, self._parse(lsn, path.read_bytes())
            except ValueError as error:
                log.warning("snapshot_unusable", path=str(path), reason=str(error))
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

    def _parse(self, lsn: int, data: bytes) -> NDArray[np.uint8]:
        """Return the payload of a snapshot; raise ValueError unless this shard wrote it so."""
        if len(data) < _HEADER.size:
            raise ValueError(f"it has {len(data)} bytes, fewer than its header")
        magic, written_lsn, length, code = _HEADER.unpack_from(data)
        body = memoryview(data)[_HEADER.size :]
        if (magic, written_lsn, length) != (_MAGIC, lsn, len(body)):
            raise ValueError("it is of another version, of another commit, or cut short")
        if not hmac.compare_digest(code, self._compute_code(lsn, body)):
            raise ValueError("this shard did not write it, or it was changed since")
        return np.frombuffer(body, np.uint8)

    def _compute_code(self, lsn: int, body: memoryview) -> bytes:
        """Return the message authentication code of a snapshot: BLAKE2b with a key (RFC 7693)."""
        code = blake2b(key=self._secret, digest_size=_CODE_BYTES, person=_PURPOSE)
        code.update(struct.pack("<qQ", lsn, len(body)))
        code.update(body)
        return code.digest()
