"""Memory keeps what a transaction has written, and nothing of one that failed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation_settop import StorageError
from constellation_settop.storage.database import Durability, open_database, transaction
from constellation_settop.storage.device_file import DeviceFile
from constellation_settop.storage.identity import ensure_identity, read_device_state
from constellation_settop.values import GlobalState, Version

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

FLOOR = 0.7


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with open_database(":memory:") as connection:
        with transaction(connection, Durability.POWER_FAILURE):
            ensure_identity(connection, None)
        yield connection


def open_file(connection: sqlite3.Connection, quality_floor: float = FLOOR) -> DeviceFile:
    return DeviceFile(connection, Durability.POWER_FAILURE, quality_floor)


def test_what_a_transaction_leaves_is_in_the_file_and_in_memory(
    connection: sqlite3.Connection,
) -> None:
    file = open_file(connection)

    with file.transaction() as after:
        after.device = replace(after.device, next_seq=9)
        assert file.device.next_seq == 1

    assert file.device.next_seq == read_device_state(connection).next_seq == 9


def test_a_block_that_raises_changes_neither(connection: sqlite3.Connection) -> None:
    file = open_file(connection)
    before = file.device

    def change_and_fail() -> None:
        with file.transaction() as after:
            after.device = replace(after.device, next_seq=9)
            after.global_state = GlobalState(Version(1, 1))
            raise OverflowError

    with pytest.raises(OverflowError):
        change_and_fail()

    assert file.device == before == read_device_state(connection)
    assert file.global_state.version == Version()


def test_a_write_that_fails_changes_neither_and_is_reported_until_one_succeeds(
    connection: sqlite3.Connection,
) -> None:
    file = open_file(connection)
    before = file.device
    connection.execute("PRAGMA query_only=1")

    with pytest.raises(StorageError, match="cannot be written"), file.transaction() as after:
        after.device = replace(after.device, next_seq=9)
    problem = file.write_problem.text
    connection.execute("PRAGMA query_only=0")
    with file.transaction():
        pass

    assert problem is not None
    assert file.write_problem.text is None
    assert file.device == before


def test_a_file_never_lowers_the_threshold_below_the_floor_of_the_device(
    connection: sqlite3.Connection,
) -> None:
    assert open_file(connection).device.quality_threshold == FLOOR
    assert open_file(connection, 0.9).device.quality_threshold == 0.9


def test_the_global_state_is_read_again_once_it_was_released(
    connection: sqlite3.Connection,
) -> None:
    file = open_file(connection)
    kept = GlobalState(Version(3, 4))
    with file.transaction() as after:
        after.device = replace(after.device, version=kept.version)
        after.global_state = kept
    assert file.global_state is kept

    file.release_global_state()

    assert file.global_state == kept
    assert file.global_state is not kept
