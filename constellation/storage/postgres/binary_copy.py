"""Rows ↔ PostgreSQL's binary formats, a batch at a time: COPY for writing, records for reading.

Every column has a fixed width, so a batch is one numpy array of big-endian fields between lengths.
Formats: PostgreSQL's documentation of COPY, and `record_send` in its rowtypes.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import (
    DEVICE,
    PATTERN,
    SIGNALS_PER_HOUR,
    DeviceRows,
    PatternRows,
    Slots,
)
from constellation.federated.terms import CONTENTS, GENRES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Codes
    from constellation.storage.postgres.dialect import Dialect

_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"
_EPOCH_2000: Final = 946_684_800
"""PostgreSQL counts microseconds from 2000, in seconds since 1970."""
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and how it travels."""

    name: str
    kind: str
    """Its SQL type."""
    wire: np.dtype[np.generic]
    is_time: bool = False


def _column(name: str, kind: str, wire: str, *, is_time: bool = False) -> Column:
    return Column(name, kind, np.dtype(wire), is_time)


PATTERN_COLUMNS: Final = (
    _column("slot", "bigint", ">i8"),
    _column("lsn", "bigint", ">i8"),
    _column("device", "integer", ">u4"),
    _column("pattern_id", "uuid", "V16"),
    _column("success_rate", "real", ">f4"),
    _column("sample_count", "integer", ">u4"),
    _column("created_at", "timestamptz", ">i8", is_time=True),
    _column("updated_at", "timestamptz", ">i8", is_time=True),
    _column("time_of_day", "smallint", ">i2"),
    _column("day_type", "smallint", ">i2"),
    _column("content_type", "smallint", ">i2"),
    _column("genres", "bytea", f"V{2 * GENRES}"),
    _column("contents", "bytea", f"V{4 * CONTENTS}"),
)
"""All but the embedding, which a Dialect knows."""
DEVICE_COLUMNS: Final = (
    _column("slot", "bigint", ">i8"),
    _column("device_id", "uuid", "V16"),
    _column("incarnation", "bigint", ">u8"),
    _column("seq", "bigint", ">u8"),
    _column("synced_at", "timestamptz", ">i8", is_time=True),
    _column("signal_hour", "integer", ">u4"),
    _column("signal_contents", "bytea", f"V{4 * SIGNALS_PER_HOUR}"),
)


def names(columns: tuple[Column, ...]) -> str:
    """Return the columns' names, as SQL lists them."""
    return ", ".join(column.name for column in columns)


def pattern_copy(slots: Slots, rows: PatternRows, dialect: Dialect) -> bytes:
    """Return patterns as COPY takes them: PATTERN_COLUMNS, then the embedding."""
    columns = (*PATTERN_COLUMNS, Column("embedding", dialect.staged, dialect.wire))
    wire = _copied(columns, slots, rows)
    wire["embedding"] = dialect.encode(rows["codes"])
    return _COPY_HEADER + wire.tobytes() + _COPY_TRAILER


def device_copy(slots: Slots, rows: DeviceRows) -> bytes:
    """Return devices as COPY takes them: DEVICE_COLUMNS."""
    return _COPY_HEADER + _copied(DEVICE_COLUMNS, slots, rows).tobytes() + _COPY_TRAILER


def pattern_rows(records: bytes, codes: Codes) -> tuple[Slots, PatternRows]:
    """Return the patterns of joined records of PATTERN_COLUMNS, in ascending slots.

    Raises ValueError when they are not such records.
    """
    return _rows(records, PATTERN_COLUMNS, PATTERN, codes)


def device_rows(records: bytes) -> tuple[Slots, DeviceRows]:
    """Return the devices of joined records of DEVICE_COLUMNS, likewise."""
    return _rows(records, DEVICE_COLUMNS, DEVICE, None)


def _copied(columns: tuple[Column, ...], slots: Slots, rows: NDArray[np.void]) -> NDArray[np.void]:
    """Return a COPY row for each row, its embedding still missing."""
    wire = np.empty(len(rows), _framed(columns, "count", ">i2", with_types=False))
    wire["count"] = len(columns)
    for column in columns:
        wire[f"{column.name} bytes"] = column.wire.itemsize
        if column.name == "slot":
            wire["slot"] = slots
        elif column.is_time:
            seconds = rows[column.name].astype(np.int64)
            wire[column.name] = (seconds - _EPOCH_2000) * _MICROSECONDS
        elif column.wire.kind == "V" and column.wire.fields is None:
            wire[column.name] = np.ascontiguousarray(rows[column.name]).view(column.wire).ravel()
        elif column.name in (rows.dtype.names or ()):
            wire[column.name] = rows[column.name]
    return wire


def _rows(
    records: bytes, columns: tuple[Column, ...], dtype: np.dtype[np.void], codes: Codes | None
) -> tuple[Slots, NDArray[np.void]]:
    framed = _framed(columns, "count", ">i4", with_types=True)
    if len(records) % framed.itemsize:
        raise ValueError(f"{len(records)} bytes are no records of {framed.itemsize}")
    wire = np.frombuffer(records, framed)
    for column in columns:
        if (wire[f"{column.name} bytes"] != column.wire.itemsize).any():
            raise ValueError(f"a {column.name} is not {column.wire.itemsize} bytes")
    slots = wire["slot"].astype(np.int64)
    order = np.argsort(slots, kind="stable")
    rows = np.zeros(len(wire), dtype)
    for column in columns:
        if column.name != "slot":
            rows[column.name] = _read(wire[column.name][order], column, rows.dtype[column.name])
    if codes is not None:
        rows["codes"] = codes[order]
    return slots[order], rows


def _read(
    values: NDArray[np.generic], column: Column, kind: np.dtype[np.generic]
) -> NDArray[np.generic]:
    if column.is_time:
        return values.astype(np.int64) // _MICROSECONDS + _EPOCH_2000
    if kind.subdtype:
        base, shape = kind.subdtype
        return values.view(base).reshape(-1, *shape)
    return values


@cache
def _framed(
    columns: tuple[Column, ...], count: str, count_kind: str, *, with_types: bool
) -> np.dtype[np.void]:
    """Return one row: how many fields, then for each its type (in records), its length, itself."""
    fields: list[tuple[str, object]] = [(count, count_kind)]
    for column in columns:
        if with_types:
            fields.append((f"{column.name} type", ">u4"))
        fields += [(f"{column.name} bytes", ">i4"), (column.name, column.wire)]
    return np.dtype(fields)
