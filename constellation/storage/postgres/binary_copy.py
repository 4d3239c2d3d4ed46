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
    MAX_SIGNALS_PER_HOUR,
    PATTERN,
    DeviceRows,
    PatternRows,
    Slots,
)
from constellation.federated.terms import MAX_CONTENTS, MAX_GENRES

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
class CopyColumn:
    """A column of a table, and how it travels."""

    name: str
    sql_type: str
    """Its SQL type."""
    dtype: np.dtype[np.generic]
    is_time: bool = False


def _make_column(name: str, sql_type: str, dtype: str, *, is_time: bool = False) -> CopyColumn:
    return CopyColumn(name, sql_type, np.dtype(dtype), is_time)


PATTERN_COLUMNS: Final = (
    _make_column("slot", "bigint", ">i8"),
    _make_column("lsn", "bigint", ">i8"),
    _make_column("device", "integer", ">u4"),
    _make_column("pattern_id", "uuid", "V16"),
    _make_column("success_rate", "real", ">f4"),
    _make_column("sample_count", "integer", ">u4"),
    _make_column("created_at", "timestamptz", ">i8", is_time=True),
    _make_column("updated_at", "timestamptz", ">i8", is_time=True),
    _make_column("time_of_day", "smallint", ">i2"),
    _make_column("day_type", "smallint", ">i2"),
    _make_column("content_type", "smallint", ">i2"),
    _make_column("genres", "bytea", f"V{2 * MAX_GENRES}"),
    _make_column("contents", "bytea", f"V{4 * MAX_CONTENTS}"),
)
"""All but the embedding, which a Dialect knows."""
DEVICE_COLUMNS: Final = (
    _make_column("slot", "bigint", ">i8"),
    _make_column("device_id", "uuid", "V16"),
    _make_column("incarnation", "bigint", ">u8"),
    _make_column("seq", "bigint", ">u8"),
    _make_column("synced_at", "timestamptz", ">i8", is_time=True),
    _make_column("signal_hour", "integer", ">u4"),
    _make_column("signal_contents", "bytea", f"V{4 * MAX_SIGNALS_PER_HOUR}"),
)


def join_column_names(columns: tuple[CopyColumn, ...]) -> str:
    """Return the columns' names, as SQL lists them."""
    return ", ".join(column.name for column in columns)


def encode_patterns(slots: Slots, rows: PatternRows, dialect: Dialect) -> bytes:
    """Return patterns as COPY takes them: PATTERN_COLUMNS, then the embedding."""
    columns = (*PATTERN_COLUMNS, CopyColumn("embedding", dialect.staging_type, dialect.copy_dtype))
    wire = _encode_rows(columns, slots, rows)
    wire["embedding"] = dialect.encode(rows["codes"])
    return _COPY_HEADER + wire.tobytes() + _COPY_TRAILER


def encode_devices(slots: Slots, rows: DeviceRows) -> bytes:
    """Return devices as COPY takes them: DEVICE_COLUMNS."""
    return _COPY_HEADER + _encode_rows(DEVICE_COLUMNS, slots, rows).tobytes() + _COPY_TRAILER


def decode_patterns(records: bytes, codes: Codes) -> tuple[Slots, PatternRows]:
    """Return the patterns of joined records of PATTERN_COLUMNS, in ascending slots.

    Raises ValueError when they are not such records.
    """
    return _decode_rows(records, PATTERN_COLUMNS, PATTERN, codes)


def decode_devices(records: bytes) -> tuple[Slots, DeviceRows]:
    """Return the devices of joined records of DEVICE_COLUMNS, likewise."""
    return _decode_rows(records, DEVICE_COLUMNS, DEVICE, None)


def _encode_rows(
    columns: tuple[CopyColumn, ...], slots: Slots, rows: NDArray[np.void]
) -> NDArray[np.void]:
    """Return a COPY row for each row, its embedding still missing."""
    wire = np.empty(len(rows), _make_record_dtype(columns, "count", ">i2", with_types=False))
    wire["count"] = len(columns)
    for column in columns:
        wire[f"{column.name} bytes"] = column.dtype.itemsize
        if column.name == "slot":
            wire["slot"] = slots
        elif column.is_time:
            seconds = rows[column.name].astype(np.int64)
            wire[column.name] = (seconds - _EPOCH_2000) * _MICROSECONDS
        elif column.dtype.kind == "V" and column.dtype.fields is None:
            wire[column.name] = np.ascontiguousarray(rows[column.name]).view(column.dtype).ravel()
        elif column.name in (rows.dtype.names or ()):
            wire[column.name] = rows[column.name]
    return wire


def _decode_rows(
    records: bytes, columns: tuple[CopyColumn, ...], dtype: np.dtype[np.void], codes: Codes | None
) -> tuple[Slots, NDArray[np.void]]:
    record_dtype = _make_record_dtype(columns, "count", ">i4", with_types=True)
    if len(records) % record_dtype.itemsize:
        raise ValueError(f"{len(records)} bytes are no records of {record_dtype.itemsize}")
    wire = np.frombuffer(records, record_dtype)
    for column in columns:
        if (wire[f"{column.name} bytes"] != column.dtype.itemsize).any():
            raise ValueError(f"a {column.name} is not {column.dtype.itemsize} bytes")
    slots = wire["slot"].astype(np.int64)
    order = np.argsort(slots, kind="stable")
    rows = np.zeros(len(wire), dtype)
    for column in columns:
        if column.name != "slot":
            rows[column.name] = _decode_column(
                wire[column.name][order], column, rows.dtype[column.name]
            )
    if codes is not None:
        rows["codes"] = codes[order]
    return slots[order], rows


def _decode_column(
    values: NDArray[np.generic], column: CopyColumn, target_dtype: np.dtype[np.generic]
) -> NDArray[np.generic]:
    if column.is_time:
        return values.astype(np.int64) // _MICROSECONDS + _EPOCH_2000
    if target_dtype.subdtype:
        base, shape = target_dtype.subdtype
        return values.view(base).reshape(-1, *shape)
    return values


@cache
def _make_record_dtype(
    columns: tuple[CopyColumn, ...], count_name: str, count_type: str, *, with_types: bool
) -> np.dtype[np.void]:
    """Return one row: how many fields, then for each its type (in records), its length, itself."""
    fields: list[tuple[str, object]] = [(count_name, count_type)]
    for column in columns:
        if with_types:
            fields.append((f"{column.name} type", ">u4"))
        fields += [(f"{column.name} bytes", ">i4"), (column.name, column.dtype)]
    return np.dtype(fields)
