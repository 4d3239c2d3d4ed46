"""Files that somebody else may have written: index snapshots, catalogues of devices and feeders."""

from __future__ import annotations

import base64
import json
import struct
from typing import TYPE_CHECKING, Final
from zlib import crc32

import numpy as np

from constellation.cli.content_lines import parse_lines, to_content
from constellation.storage.snapshots import IndexSnapshots
from constellation_settop.recommending.catalogue_file import read_columns
from tests.clients.samples import make_catalogue

if TYPE_CHECKING:
    from pathlib import Path

_SECRET: Final = bytes(range(32))
_PREFIX: Final = struct.Struct("<8sII")


class RefusedError(Exception):
    """A file was refused, as it should be."""


class SnapshotFile:
    """An index snapshot in a folder, whose file is overwritten by each input."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._snapshots = IndexSnapshots(folder, _SECRET)
        self._snapshots.write(7, np.arange(200, dtype=np.uint8))
        self._path = folder / "index-7.snapshot"
        self.sound = self._path.read_bytes()

    def read(self, data: bytes) -> None:
        """Take only the snapshot that was written, whatever the file has."""
        self._path.write_bytes(data)
        if self._snapshots.read() is None:
            raise RefusedError
        assert data == self.sound, "a changed snapshot was taken"


class CatalogueFile:
    """The file of a device's catalogue, overwritten by each input."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "catalogue"
        make_catalogue().write(self._path)
        self.sound = self._path.read_bytes()

    def read(self, data: bytes) -> None:
        """Read a catalogue, with the checksum of its header made right, and all its columns."""
        if len(data) > _PREFIX.size:
            magic, size, _ = _PREFIX.unpack_from(data)
            header = data[_PREFIX.size : _PREFIX.size + size]
            data = _PREFIX.pack(magic, size, crc32(header)) + data[_PREFIX.size :]
        self._path.write_bytes(data)
        columns = read_columns(self._path)
        assert len(columns.titles[:]) == len(columns.content_ids[:])
        names = columns.genre_names
        assert all(names[int(index)] is not None for index in columns.genre_indexes)
        assert np.isfinite(columns.unit_scales).all()


def read_catalogue_lines(data: bytes) -> None:
    """Read a feeder's catalogue as `constellation content add` does."""
    for entry in parse_lines("catalogue", data.split(b"\n"), lambda _: None):
        to_content(entry)


def make_catalogue_lines() -> list[bytes]:
    """Return lines of catalogues, each with other fields."""
    embedding = base64.b64encode(bytes(range(97)) * 4).decode()
    full = {
        "content_id": "film:1", "title": "Solaris", "content_type": "movie", "year": 1972,
        "genres": ["Drama", "Sci-Fi"], "embedding": embedding,
    }  # fmt: skip
    short = {"content_id": "film:2", "content_type": "CONTENT_TYPE_EPISODE", "embedding": embedding}
    return [
        json.dumps(full).encode(),
        b"\n".join(json.dumps(each).encode() for each in (short, full)),
    ]
