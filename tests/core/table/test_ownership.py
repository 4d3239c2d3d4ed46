from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import DEVICE
from constellation.core.table.ownership import ShardIdentity
from constellation.placement import find_owner
from tests.core.ingest.planned_table import PlannedTable
from tests.deltas import device_id, make_delta

if TYPE_CHECKING:
    from constellation.core.table.shard_table import Table

SHARDS = {0: "a:1", 1: "b:1"}


def make_table() -> Table:
    shard = PlannedTable()
    shard.commit(*(make_delta(device, 1) for device in range(6)))
    return shard.table


def test_the_devices_of_other_shards_are_relocated() -> None:
    table = make_table()

    ShardIdentity(0, "north", SHARDS).mark_relocated(table)

    expected = [find_owner(device_id(device), SHARDS) == 1 for device in range(6)]
    assert table.relocated[:6].tolist() == expected
    assert table.relocated_count == sum(expected) > 0


def test_without_a_shard_map_every_device_belongs_here() -> None:
    table = make_table()

    ShardIdentity().mark_relocated(table)

    assert table.relocated_count == 0


def test_a_row_without_a_device_is_not_relocated() -> None:
    table = make_table()
    table.devices[:6] = np.zeros(1, DEVICE)

    ShardIdentity(0, "north", {1: "b:1"}).mark_relocated(table)

    assert table.relocated_count == 0
