from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.rows import DEVICE
from constellation.core.table.ownership import ShardIdentity, require_own_devices
from constellation.errors import ConfigError
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


def test_a_map_that_gives_away_more_than_half_is_refused_with_the_counts() -> None:
    table = make_table()
    identity = ShardIdentity(0, "north", {1: "b:1"})
    identity.mark_relocated(table)

    with pytest.raises(ConfigError, match=r"gives 6 of the 6 devices .* ACCEPT_SHARD_MAP=1"):
        require_own_devices(table, identity)


@pytest.mark.parametrize("gone", [0, 3])
def test_a_map_that_gives_away_up_to_half_is_fine(gone: int) -> None:
    table = make_table()
    table.relocated_count = gone

    require_own_devices(table, ShardIdentity(0, "north", SHARDS))
