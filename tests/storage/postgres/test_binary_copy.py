from __future__ import annotations

import struct

import numpy as np
import pytest

from constellation.core.rows import DEVICE, DeviceRows
from constellation.storage.postgres.binary_copy import (
    DEVICE_COLUMNS,
    PATTERN_COLUMNS,
    decode_devices,
    decode_patterns,
    encode_devices,
    encode_patterns,
    join_column_names,
)
from constellation.storage.postgres.dialect import DIALECTS, PGVECTOR, Dialect
from tests.storage.samples import make_device_rows, make_pattern_rows, to_slots

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"


def read_copy(data: bytes) -> list[list[bytes]]:
    """Return the fields of each row, read as PostgreSQL's documentation of COPY describes them."""
    assert data.startswith(COPY_HEADER)
    assert data.endswith(COPY_TRAILER)
    rows, at = [], len(COPY_HEADER)
    while at < len(data) - len(COPY_TRAILER):
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        fields = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", data, at)
            fields.append(data[at + 4 : at + 4 + length])
            at += 4 + length
        rows.append(fields)
    return rows


def write_records(rows: list[list[bytes]]) -> bytes:
    """Return the fields as records: a number of fields, and a type before each length."""
    return b"".join(
        struct.pack(">i", len(fields))
        + b"".join(struct.pack(">Ii", 17, len(field)) + field for field in fields)
        for fields in rows
    )


def make_devices(count: int) -> DeviceRows:
    rows = make_device_rows(count).copy()
    rows["synced_at"] = 2**32 - 1  # the last second that a row can hold, in 2106
    return rows


def test_devices_are_read_as_they_were_written_in_the_order_of_their_slots() -> None:
    rows = make_devices(3)

    fields = read_copy(encode_devices(to_slots(9, 2**40, 3), rows))
    slots, found = decode_devices(write_records(fields))

    assert slots.tolist() == [3, 9, 2**40]
    assert [row.tobytes() for row in found] == [rows[at].tobytes() for at in (2, 0, 1)]


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_patterns_are_read_as_they_were_written_with_their_embeddings(dialect: Dialect) -> None:
    rows = make_pattern_rows(4)

    fields = read_copy(encode_patterns(to_slots(5, 1, 7, 3), rows, dialect))
    records = write_records([row[:-1] for row in fields])
    slots, found = decode_patterns(records, rows["codes"])

    assert {len(row[-1]) for row in fields} == {dialect.copy_dtype.itemsize}
    assert slots.tolist() == [1, 3, 5, 7]
    assert [row.tobytes() for row in found] == [rows[at].tobytes() for at in (1, 3, 0, 2)]


def test_a_time_is_written_in_microseconds_since_2000() -> None:
    rows = np.zeros(1, DEVICE)
    rows["synced_at"] = 946_684_800 + 1  # one second after the start of 2000

    (fields,) = read_copy(encode_devices(to_slots(0), rows))

    position = [column.name for column in DEVICE_COLUMNS].index("synced_at")
    assert struct.unpack(">q", fields[position]) == (1_000_000,)


def test_no_rows_are_an_empty_copy() -> None:
    assert encode_devices(to_slots(), make_devices(0)) == COPY_HEADER + COPY_TRAILER
    assert encode_patterns(to_slots(), make_pattern_rows(0), PGVECTOR).endswith(COPY_TRAILER)


def test_bytes_that_are_not_records_are_refused() -> None:
    (fields,) = read_copy(encode_devices(to_slots(1), make_devices(1)))
    record = bytearray(write_records([fields]))
    record[11] = 7  # the length of the first field

    with pytest.raises(ValueError, match="bytes are not a whole number of records"):
        decode_devices(bytes(record[:-1]))
    with pytest.raises(ValueError, match="a slot does not have 8 bytes"):
        decode_devices(bytes(record))


def test_columns_are_listed_in_the_order_of_their_fields() -> None:
    assert join_column_names(DEVICE_COLUMNS).split(", ")[:2] == ["slot", "device_id"]
    assert len(join_column_names(PATTERN_COLUMNS).split(", ")) == len(PATTERN_COLUMNS)
