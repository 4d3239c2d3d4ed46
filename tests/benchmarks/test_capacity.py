from __future__ import annotations

import dataclasses

import pytest

from benchmarks.capacity import Capacity, Costs, Fleet, format_capacity, load_costs
from benchmarks.figures import load_figures

COSTS = Costs(
    sync_cpu_us=600.0, down_bytes=8000.0, database_bytes=1200.0, wal_bytes=1400.0, start_seconds=8.0
)
SMALL = Fleet(devices=1_000_000)


def test_shards_follow_from_the_peak_rate() -> None:
    capacity = Capacity(SMALL, COSTS)

    assert SMALL.peak_syncs_per_second == pytest.approx(3333, abs=1)
    assert capacity.syncs_per_shard == pytest.approx(1000)
    assert capacity.shards == 4


def test_a_fleet_that_hardly_syncs_is_bound_by_the_devices_of_a_shard() -> None:
    capacity = Capacity(Fleet(devices=40_000_001, syncs_per_day=0.1), COSTS)

    assert capacity.shards == 11


def test_there_are_as_many_shards_as_a_federation_needs() -> None:
    assert Capacity(Fleet(devices=10), COSTS).shards == 3


def test_federations_stand_over_federations() -> None:
    large = Capacity(Fleet(devices=400_000_000), COSTS)

    assert large.shards == 1334
    assert large.federations == 14 + 1
    assert Capacity(SMALL, COSTS).federations == 1


def test_what_breaks_first_is_named_first() -> None:
    slow = dataclasses.replace(COSTS, sync_cpu_us=20_000.0)

    assert Capacity(SMALL, slow).list_limits()[0][1] == "the event loop of a shard: one core"
    used = [share for share, _ in Capacity(SMALL, COSTS).list_limits()]
    assert used == sorted(used, reverse=True)


def test_twice_the_patterns_are_about_twice_the_memory() -> None:
    once = Capacity(SMALL, COSTS).memory_per_shard
    twice = Capacity(dataclasses.replace(SMALL, patterns_per_device=20), COSTS).memory_per_shard

    assert 1.7 < twice / once < 2


def test_the_committed_figures_suffice() -> None:
    text = format_capacity(Capacity(Fleet(), load_costs(load_figures())))

    assert "400,000,000" in text
    assert "PostgreSQL: WAL at the peak" in text


def test_a_figure_that_nobody_measured_is_named() -> None:
    with pytest.raises(KeyError, match="growth_sync_us_1m"):
        load_costs([])
