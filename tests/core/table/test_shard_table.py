from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rules import Rules
from constellation.core.table.shard_table import DevicePatterns, Table
from tests.core.ingest.planned_table import NOW, PlannedTable
from tests.deltas import PatternSpec, device_id, make_delta

if TYPE_CHECKING:
    import pytest


def test_patterns_are_found_grouped_by_device() -> None:
    table = Table(Rules(max_devices=4, max_patterns=10))
    devices = np.array([2, 0])
    table.link(devices, DevicePatterns(np.array([0, 0, 1]), np.array([5, 6, 7])))
    table.link(np.array([2]), DevicePatterns(np.array([0]), np.array([8])))

    found = table.find_patterns(np.array([0, -1, 2, 3]))

    assert found.owners.tolist() == [0, 2, 2, 2]
    assert found.slots[0] == 7
    assert sorted(found.slots[1:].tolist()) == [5, 6, 8]
    assert table.pattern_counts[:4].tolist() == [1, 0, 3, 0]


def test_few_and_many_devices_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(Rules(max_devices=4, max_patterns=10))
    devices = np.array([2, 0, 3])
    owners, slots = np.array([0, 0, 1, 2, 0]), np.array([5, 6, 7, 8, 1])
    table.link(devices, DevicePatterns(np.sort(owners), slots))

    few = table.find_patterns(np.array([3, -1, 2, 1]))
    monkeypatch.setattr("constellation.core.table.shard_table._FEW_DEVICES", 0)
    many = table.find_patterns(np.array([3, -1, 2, 1]))

    assert few.owners.tolist() == many.owners.tolist() == [0, 2, 2, 2]
    assert few.slots.tolist() == many.slots.tolist()


def test_an_unlinked_device_has_no_patterns() -> None:
    table = Table(Rules(max_devices=4, max_patterns=10))
    table.link(np.array([1]), DevicePatterns(np.array([0, 0]), np.array([3, 4])))

    table.unlink(np.array([1]))

    assert len(table.find_patterns(np.array([1])).slots) == 0
    assert table.pattern_counts[1] == 0


def test_active_devices_are_connected_or_synced_lately() -> None:
    shard = PlannedTable()
    shard.commit(*(make_delta(device, 1) for device in range(3)))
    shard.table.devices["synced_at"][1:3] = int(NOW) - 1000

    def count(*connected: int) -> int:
        ids = [device_id(device) for device in connected]
        return shard.table.count_active_devices(ids, NOW - 60)

    assert count() == 1
    assert count(0) == 1
    assert count(2) == 2
    assert count(2, 99) == 2


def test_a_removed_device_frees_its_row() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1), make_delta(1, 1))
    shard.table.relocated[0], shard.table.relocated_count = True, 1

    shard.table.remove_devices(np.array([0]))

    assert shard.table.find_device(device_id(0)) == -1
    assert shard.table.find_device(device_id(1)) == 1
    assert shard.table.relocated_count == 0
    assert shard.table.device_allocator.peek(1).tolist() == [0]


def test_a_relocated_device_counts_for_nothing_that_others_see() -> None:
    shard = PlannedTable()
    shard.commit(*(make_delta(device, 1, [PatternSpec(1)]) for device in (0, 1)), make_delta(2, 1))
    shard.table.relocated[0] = True
    assert shard.recount().tolist() == [0]

    shard.require_consistent()
    assert shard.table.counts_for_others(np.array([0, 1, 2])).tolist() == [False, True, True]
    assert shard.table.find_counted().tolist() == [1]


def test_a_pattern_id_may_repeat_on_another_device() -> None:
    shard = PlannedTable()

    shard.commit(make_delta(0, 1, [PatternSpec(1)]), make_delta(1, 1, [PatternSpec(1)]))

    assert len(shard.table.slots_by_pattern) == 2
