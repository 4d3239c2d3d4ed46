"""The file of a catalogue: its columns one after another, for `mmap`.

The file begins with MAGIC, the length and the CRC-32 of the header (two uint32), and the header as
JSON, which names the type, the shape and the place of each column. Numbers are little-endian. Rows
are sorted by the UTF-8 bytes of their content ids. docs/ranking.md describes the columns.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import fields
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from zlib import crc32

import numpy as np

from constellation.encoding import DIMENSION
from constellation_settop.errors import StorageError
from constellation_settop.recommending.catalogue_columns import CatalogueColumns, sort_columns
from constellation_settop.recommending.texts import Texts
from constellation_settop.values import ContentType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MAGIC: Final = b"CSTLCAT1"
MAX_HEADER_BYTES: Final = 65_536
_ALIGNMENT: Final = 64
_MAX_DEVIATION_SCALE: Final = 1e6
_PREFIX: Final = struct.Struct("<8sII")
_TYPES: Final[dict[str, str]] = {
    "codes": "|i1",
    "unit_scales": "<f4",
    "deviation_scales": "<f4",
    "mean_codes": "|i1",
    "mean_scale": "<f4",
    "content_types": "|u1",
    "genre_offsets": "<u4",
    "genre_indexes": "<u2",
    "keys": "<u8",
    "key_rows": "<u4",
    "item_hashes": "<u8",
}
_TEXTS: Final = ("content_ids", "titles", "genre_names")


def write_columns(columns: CatalogueColumns, path: Path) -> None:
    """Write the columns of a catalogue to a file, which appears whole or not at all.

    Raises StorageError when the disk refuses.
    """
    sections = _list_sections(sort_columns(columns))
    table, offset = {}, 0
    for name, array in sections.items():
        table[name] = [array.dtype.str, list(array.shape), offset]
        offset = _align(offset + array.nbytes)
    header = json.dumps({"size": offset, "sections": table}).encode()
    beside = path.with_name(f"{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(_PREFIX.pack(MAGIC, len(header), crc32(header)) + header)
            for array in sections.values():
                _pad(file)
                file.write(np.ascontiguousarray(array).data)
            _pad(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def _align(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _pad(file: BinaryIO) -> None:
    file.write(bytes(_align(file.tell()) - file.tell()))


def _list_sections(columns: CatalogueColumns) -> dict[str, NDArray[Any]]:
    sections: dict[str, NDArray[Any]] = {}
    for field in fields(columns):
        value = getattr(columns, field.name)
        if isinstance(value, Texts):
            sections[f"{field.name}.data"] = value.data
            sections[f"{field.name}.offsets"] = value.offsets.astype("<u4")
        else:
            sections[field.name] = value.astype(_TYPES[field.name], copy=False)
    return sections


def read_columns(path: Path) -> CatalogueColumns:
    """Map a file into memory, and return its columns.

    The file may be replaced meanwhile, but must not be changed. Raises StorageError when it is
    missing or is no catalogue.
    """
    try:
        data: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
        sections = dict(_read_sections(data))
        return _build_columns(sections)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise StorageError(
            f"{path} is no catalogue, or a damaged one ({error}): delete it and fetch it again"
        ) from error


def _read_sections(data: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[Any]]]:
    magic, size, checksum = _PREFIX.unpack(data[: _PREFIX.size].tobytes())
    if magic != MAGIC or size > MAX_HEADER_BYTES:
        raise ValueError("it begins with something else")
    encoded = data[_PREFIX.size : _PREFIX.size + size].tobytes()
    if crc32(encoded) != checksum:
        raise ValueError("its header is damaged")
    header = json.loads(encoded)
    start = _align(_PREFIX.size + size)
    if len(data) != start + header["size"]:
        raise ValueError(f"it should have {start + header['size']} bytes, but has {len(data)}")
    for name, (type_name, shape, offset) in header["sections"].items():
        dtype = np.dtype(_TYPES.get(name, "|u1" if name.endswith(".data") else "<u4"))
        if dtype.str != type_name:
            raise ValueError(f"column {name} has type {type_name}")
        array = np.ndarray(shape, dtype, data, start + offset)  # checks the bounds
        yield name, array


def _build_columns(sections: dict[str, NDArray[Any]]) -> CatalogueColumns:
    texts = {
        name: Texts(sections.pop(f"{name}.data"), sections.pop(f"{name}.offsets"))
        for name in _TEXTS
    }
    columns = CatalogueColumns(**texts, **sections)  # type: ignore[arg-type]  # by name
    count = len(columns.content_ids)
    shapes = {
        "titles": (len(columns.titles), count),
        "codes": (columns.codes.shape, (count, DIMENSION)),
        "unit_scales": (columns.unit_scales.shape, (count,)),
        "deviation_scales": (columns.deviation_scales.shape, (count,)),
        "mean_codes": (columns.mean_codes.shape, (1, DIMENSION)),
        "mean_scale": (columns.mean_scale.shape, (1,)),
        "content_types": (columns.content_types.shape, (count,)),
        "genre_offsets": (columns.genre_offsets.shape, (count + 1,)),
        "keys": (columns.keys.shape, (count,)),
        "key_rows": (columns.key_rows.shape, (count,)),
    }
    wrong = [name for name, (shape, expected) in shapes.items() if shape != expected]
    if wrong:
        raise ValueError(f"column {wrong[0]} has the wrong length")
    _check_values(columns, count)
    return columns


def _check_values(columns: CatalogueColumns, count: int) -> None:
    """Raise ValueError for numbers that would lead out of a column or spoil every ranking."""
    offsets = columns.genre_offsets
    are_right = (
        columns.content_types.max(initial=0) <= max(ContentType)
        and columns.key_rows.max(initial=0) < max(count, 1)
        and columns.genre_indexes.max(initial=0) < max(len(columns.genre_names), 1)
        and len(columns.item_hashes) in {0, count}
        and offsets[0] == 0
        and offsets[-1] == len(columns.genre_indexes)
        and (offsets[1:] >= offsets[:-1]).all()
        and _is_within(columns.unit_scales, 1)
        and _is_within(columns.deviation_scales, _MAX_DEVIATION_SCALE)
        and _is_within(columns.mean_scale, 1)
    )
    if not are_right:
        raise ValueError("a number in it is out of range")


def _is_within(factors: NDArray[np.float32], limit: float) -> bool:
    """Return whether all factors are from 0 to a limit; NaN is not."""
    return bool(((factors >= 0) & (factors <= limit)).all())
