"""A table lists the rows of its devices in pages, and finds devices by their ids."""

from __future__ import annotations

import numpy as np
import pytest

from constellation.core.rules import Rules
from constellation.core.table.shard_table import Table, to_device_keys
from tests.deltas import device_id

ROWS = 70_000
"""More than the table looks at before it checks whether it has found enough."""
USED = [2, 3, 65_535, 65_536, 69_999]


@pytest.fixture
def table() -> Table:
    """A table with a few devices, far apart."""
    table = Table(Rules(max_devices=ROWS))
    table.device_allocator.take(ROWS)
    table.devices["incarnation"][USED] = 1
    return table


def test_rows_in_use_come_in_ascending_order(table: Table) -> None:
    assert table.list_devices(0, 100).tolist() == USED


def test_a_page_begins_at_its_start_and_ends_at_its_limit(table: Table) -> None:
    assert table.list_devices(3, 2).tolist() == [3, 65_535]
    assert table.list_devices(65_536, 1).tolist() == [65_536]
    assert table.list_devices(70_000, 5).tolist() == []


def test_rows_above_the_high_water_mark_are_not_listed() -> None:
    table = Table(Rules(max_devices=10))
    table.devices["incarnation"][:] = 1
    table.device_allocator.take(4)

    assert table.list_devices(0, 100).tolist() == [0, 1, 2, 3]


def test_devices_are_found_by_id_in_the_order_asked_for(table: Table) -> None:
    keys = np.concatenate([to_device_keys(device_id(number)) for number in (1, 2)])
    table.slots_by_device.put(keys, np.array([7, 8], np.int64))

    found = table.find_devices([device_id(2), device_id(9), device_id(1)])

    assert found.tolist() == [8, -1, 7]
    assert table.find_devices([]).tolist() == []
