from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation_settop.storage.database import open_database
from constellation_settop.storage.identity import (
    DeviceState,
    ensure_identity,
    read_device_state,
    write_device_state,
)
from constellation_settop.values import Version

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with open_database(":memory:") as connection:
        yield connection


def test_every_value_comes_back_as_it_was_written(connection: sqlite3.Connection) -> None:
    state = DeviceState(bytes(range(16)), 2**64 - 1, 7, 5, 0.1 + 0.2, 9, Version(2**64 - 1, 3))

    write_device_state(connection, None, state)

    assert read_device_state(connection) == state


def test_only_values_that_differ_are_written(connection: sqlite3.Connection) -> None:
    before = DeviceState(bytes(16), 1)
    write_device_state(connection, None, before)
    connection.execute("UPDATE device_state SET value='8' WHERE name='patterns_per_delta'")

    write_device_state(connection, before, replace(before, next_seq=2))

    after = read_device_state(connection)
    assert (after.next_seq, after.patterns_per_delta) == (2, 8)


def test_a_new_file_takes_the_given_id_and_a_random_incarnation(
    connection: sqlite3.Connection,
) -> None:
    ensure_identity(connection, bytes(range(16)))

    state = read_device_state(connection)
    assert state.device_id == bytes(range(16))
    assert state.incarnation > 0


def test_without_a_given_id_two_files_get_two_identities(connection: sqlite3.Connection) -> None:
    with open_database(":memory:") as other:
        for each in (connection, other):
            ensure_identity(each, None)

        one, two = read_device_state(connection), read_device_state(other)
    assert len(one.device_id) == 16
    assert one.device_id != two.device_id
    assert one.incarnation != two.incarnation


def test_a_file_keeps_its_identity(connection: sqlite3.Connection) -> None:
    ensure_identity(connection, None)
    before = read_device_state(connection)

    ensure_identity(connection, bytes(16))

    assert read_device_state(connection) == before
