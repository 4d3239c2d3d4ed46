"""Rows in PostgreSQL's binary formats, in batches: COPY for writing, records for reading.

Every column has a fixed width, so a batch is one numpy array of big-endian fields, each after its
length. PostgreSQL's documentation of COPY describes the first format, `record_send` in its
rowtypes.c the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import (
    DEVICE,
    LIKED,
    MAX_SIGNALS_PER_HOUR,
    PATTERN,
    DeviceRows,
    LikedRows,
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
"""The start of 2000 in seconds since 1970. PostgreSQL counts microseconds from there."""
_MICROSECONDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class CopyColumn:
    """A column of a table, and its type in the binary formats."""

    name: str
    sql_type: str
    dtype: np.dtype[np.generic]
    """Type of one field; big-endian."""
    is_time: bool = False
    """Whether the field is a timestamptz, for which the rows store seconds since 1970."""


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
"""Columns of a pattern except the embedding, whose type depends on the Dialect."""
DEVICE_COLUMNS: Final = (
    _make_column("slot", "bigint", ">i8"),
    _make_column("device_id", "uuid", "V16"),
    _make_column("incarnation", "bigint", ">u8"),
    _make_column("seq", "bigint", ">u8"),
    _make_column("synced_at", "timestamptz", ">i8", is_time=True),
    _make_column("signal_hour", "integer", ">u4"),
    _make_column("signal_contents", "bytea", f"V{4 * MAX_SIGNALS_PER_HOUR}"),
    _make_column("lot", "bigint", ">u8"),
    _make_column("network", "bigint", ">u8"),
    _make_column("first_day", "integer", ">i4"),
    _make_column("active_day", "integer", ">i4"),
    _make_column("active_days", "smallint", ">i2"),
    _make_column("attested", "smallint", ">i2"),
    _make_column("quarantined", "smallint", ">i2"),
    _make_column("week", "integer", ">i4"),
    _make_column("week_patterns", "integer", ">i4"),
    _make_column("week_signals", "integer", ">i4"),
    _make_column("week_liked", "integer", ">i4"),
)
LIKED_COLUMNS: Final = (
    _make_column("slot", "bigint", ">i8"),
    _make_column("contents", "bytea", f"V{LIKED.itemsize}"),
)


def join_column_names(columns: tuple[CopyColumn, ...]) -> str:
    """Return the names of the columns, separated by commas as in SQL."""
    return ", ".join(column.name for column in columns)


def encode_patterns(slots: Slots, rows: PatternRows, dialect: Dialect) -> bytes:
    """Return patterns in the format of COPY: PATTERN_COLUMNS, then the embedding."""
    columns = (*PATTERN_COLUMNS, CopyColumn("embedding", dialect.staging_type, dialect.copy_dtype))
    wire = _encode_rows(columns, slots, rows)
    wire["embedding"] = dialect.encode(rows["codes"])
    return _COPY_HEADER + wire.tobytes() + _COPY_TRAILER


def encode_devices(slots: Slots, rows: DeviceRows) -> bytes:
    """Return devices in the format of COPY, with DEVICE_COLUMNS."""
    return _COPY_HEADER + _encode_rows(DEVICE_COLUMNS, slots, rows).tobytes() + _COPY_TRAILER


def decode_patterns(records: bytes, codes: Codes) -> tuple[Slots, PatternRows]:
    """Return the patterns of concatenated records of PATTERN_COLUMNS, in ascending slots.

    `codes` are their embeddings in the order of the records. Raises ValueError when the bytes are
    not such records.
    """
    return _decode_rows(records, PATTERN_COLUMNS, PATTERN, codes)


def decode_devices(records: bytes) -> tuple[Slots, DeviceRows]:
    """Return the devices of concatenated records of DEVICE_COLUMNS, in ascending slots.

    Raises ValueError when the bytes are not such records.
    """
    return _decode_rows(records, DEVICE_COLUMNS, DEVICE, None)


def decode_liked(records: bytes) -> tuple[Slots, LikedRows]:
    """Return the liked content of concatenated records of LIKED_COLUMNS, in ascending slots.

    Raises ValueError when the bytes are not such records.
    """
    return _decode_rows(records, LIKED_COLUMNS, LIKED, None)


def _encode_rows(
    columns: tuple[CopyColumn, ...], slots: Slots, rows: NDArray[np.void]
) -> NDArray[np.void]:
    """Return one COPY row for each row. The caller fills in the embedding, if there is one."""
    wire = np.empty(len(rows), _make_record_dtype(columns, ">i2", with_types=False))
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
    record_dtype = _make_record_dtype(columns, ">i4", with_types=True)
    if len(records) % record_dtype.itemsize:
        raise ValueError(
            f"{len(records)} bytes are not a whole number of records, "
            f"which have {record_dtype.itemsize} bytes each"
        )
    wire = np.frombuffer(records, record_dtype)
    for column in columns:
        if (wire[f"{column.name} bytes"] != column.dtype.itemsize).any():
            raise ValueError(f"a {column.name} does not have {column.dtype.itemsize} bytes")
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
    columns: tuple[CopyColumn, ...], count_type: str, *, with_types: bool
) -> np.dtype[np.void]:
    """Return the dtype of one row: the number of fields, then each field after its length.

    In records, but not in COPY, the object id of its type comes before the length.
    """
    fields: list[tuple[str, object]] = [("count", count_type)]
    for column in columns:
        if with_types:
            fields.append((f"{column.name} type", ">u4"))
        fields += [(f"{column.name} bytes", ">i4"), (column.name, column.dtype)]
    return np.dtype(fields)
