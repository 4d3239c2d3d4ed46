"""`python -m benchmarks.capacity`: what a fleet needs, computed from the committed figures.

Every figure is measured on one machine (benchmarks/figures.json) or follows from a constant in the
code; the fleet itself is arithmetic. docs/capacity.md quotes the output and explains it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

from benchmarks.figures import find_value, load_figures
from constellation.config import ShardConfig
from constellation.core.rows import DEVICE, LIKED, MAX_LIKED, PATTERN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.report import Row

_DAY: Final = 86_400
_GIB: Final = 2**30
_TIB: Final = 2**40
_BUSY: Final = 0.6
"""Share of a shard's core, and of a database's WAL, that is planned for the busiest hour."""
_OTHER_CORES: Final = 0.5
"""Cores that a shard's threads need beside its event loop: the store, merging, snapshots."""
_LINKS_BYTES: Final = 8 + 80 + 8
"""Of a pattern: its link, its place in a HashIndex (53 to 107), its group. See docs/sizing.md."""
_DEVICE_LINKS_BYTES: Final = 11 + 60
"""Of a device: its columns, and its place in a HashIndex (40 to 80)."""
_PROCESS_BYTES: Final = 110 * 2**20
_MAX_CONTRIBUTING: Final = 100_000
"""Devices of a large shard whose liked content is kept (RELATED_SAMPLE)."""
_FEDERATION_SHARDS: Final = 100
"""The most shards under one federation that was measured (the case `rounds`)."""
_WAL_BYTES_PER_SECOND: Final = 100e6
"""What one PostgreSQL server is assumed to write and ship to a replica, at its peak."""
_UP_BYTES: Final = 700
"""Of a sync with one INT8 pattern: 451 for the delta, the rest for Hello, token and HTTP/2."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is asked for."""

    devices: int = 400_000_000
    syncs_per_day: float = 144.0
    region_factor: float = 2.0
    """The rate of the busiest hour of a region, as a multiple of the mean of its day."""
    replicas: int = 1
    """Processes that wait to take a shard over, and copies of each database."""
    patterns_per_device: float = 10.0

    @property
    def peak_syncs_per_second(self) -> float:
        return self.devices * self.syncs_per_day / _DAY * self.region_factor


@dataclass(frozen=True, slots=True)
class Costs:
    """What one device, pattern or sync costs, measured."""

    sync_cpu_us: float
    """Of the shard's process, for one whole sync on a store of a million patterns."""
    down_bytes: float
    """A complete answer; a device that holds most of it already gets less."""
    database_bytes: float
    """Of one pattern in PostgreSQL, with its key."""
    wal_bytes: float
    """Of one delta in PostgreSQL."""
    start_seconds: float
    """Of a shard, for each million patterns, with PostgreSQL and an index snapshot."""


def load_costs(rows: Sequence[Row]) -> Costs:
    """Return the costs among the committed figures. Raises KeyError for one that is missing."""
    return Costs(
        sync_cpu_us=find_value(rows, "growth_sync_us_1m"),
        down_bytes=find_value(rows, "growth_answer_bytes_1m"),
        database_bytes=find_value(rows, "postgres_bytes_per_pattern"),
        wal_bytes=find_value(rows, "postgres_wal_bytes_per_delta"),
        start_seconds=find_value(rows, "restart_1m_seconds_postgres"),
    )


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a fleet needs."""

    fleet: Fleet
    costs: Costs

    @property
    def syncs_per_shard(self) -> float:
        """Whole syncs that one shard serves in a second."""
        return _BUSY * 1e6 / self.costs.sync_cpu_us

    @property
    def shards(self) -> int:
        by_rate = ceil(self.fleet.peak_syncs_per_second / self.syncs_per_shard)
        return max(by_rate, ceil(self.fleet.devices / ShardConfig().max_devices), 3)

    @property
    def devices_per_shard(self) -> float:
        return self.fleet.devices / self.shards

    @property
    def cores(self) -> float:
        """Of the shards that serve; those that wait need next to none."""
        return self.shards * (_BUSY + _OTHER_CORES)

    @property
    def memory_per_shard(self) -> float:
        """Bytes."""
        patterns = self.devices_per_shard * self.fleet.patterns_per_device
        contributing = min(self.devices_per_shard, _MAX_CONTRIBUTING)
        return (
            _PROCESS_BYTES
            + patterns * (PATTERN.itemsize + _LINKS_BYTES)
            + self.devices_per_shard * (DEVICE.itemsize + _DEVICE_LINKS_BYTES)
            + contributing * LIKED.itemsize
        )

    @property
    def database_bytes(self) -> float:
        """Of all patterns, devices and liked content, in one copy."""
        device_bytes = DEVICE.itemsize + 4 * MAX_LIKED / 4  # a quarter of the list, on average
        patterns = self.fleet.devices * self.fleet.patterns_per_device
        return patterns * self.costs.database_bytes + self.fleet.devices * device_bytes

    @property
    def wal_per_second(self) -> float:
        """Bytes at the peak, when every sync brings one delta."""
        return self.fleet.peak_syncs_per_second * self.costs.wal_bytes

    @property
    def databases(self) -> int:
        """PostgreSQL servers, without their copies."""
        return ceil(self.wal_per_second / (_BUSY * _WAL_BYTES_PER_SECOND))

    @property
    def federations(self) -> int:
        """Federations over the shards, and those over federations."""
        total, level = 0, self.shards
        while level > 1:
            level = ceil(level / _FEDERATION_SHARDS)
            total += level
        return total

    def list_limits(self) -> list[tuple[float, str]]:
        """Return how much of each limit is used at the peak, the tightest first."""
        config, patterns = ShardConfig(), self.devices_per_shard * self.fleet.patterns_per_device
        top = ceil(self.shards / _FEDERATION_SHARDS) / _FEDERATION_SHARDS
        used = [
            (
                self.fleet.peak_syncs_per_second / self.shards * self.costs.sync_cpu_us / 1e6,
                "the event loop of a shard: one core",
            ),
            (self.devices_per_shard / config.max_devices, "MAX_DEVICES of a shard"),
            (patterns / config.max_patterns, "MAX_PATTERNS of a shard"),
            (
                self.wal_per_second / self.databases / _WAL_BYTES_PER_SECOND,
                "WAL of a PostgreSQL server, 100 MB/s",
            ),
            (top, "shards or federations under one federation, 100"),
        ]
        return sorted(used, reverse=True)


def format_capacity(capacity: Capacity) -> str:
    """Return what a fleet needs, for people."""
    fleet, copies = capacity.fleet, 1 + capacity.fleet.replicas
    patterns = capacity.devices_per_shard * fleet.patterns_per_device
    rate, database = fleet.peak_syncs_per_second, capacity.database_bytes
    lines = [
        ("devices", f"{fleet.devices:,}"),
        ("whole syncs in a second, at the peak", f"{rate:,.0f}"),
        ("whole syncs in a second that a shard serves", f"{capacity.syncs_per_shard:,.0f}"),
        ("shards", f"{capacity.shards:,}, and {capacity.shards * fleet.replicas:,} that wait"),
        ("devices and patterns of a shard", f"{capacity.devices_per_shard:,.0f}, {patterns:,.0f}"),
        ("cores for shards", f"{capacity.cores:,.0f}"),
        (
            "memory of a shard, of all that serve",
            _join(
                f"{capacity.memory_per_shard / _GIB:,.1f} GiB",
                f"{capacity.memory_per_shard * capacity.shards / _TIB:,.1f} TiB",
            ),
        ),
        ("start of a shard", f"{capacity.costs.start_seconds * patterns / 1e6:,.0f} s"),
        (
            "PostgreSQL: one copy, all copies",
            _join(*(f"{size / 1e12:,.1f} TB" for size in (database, database * copies))),
        ),
        ("PostgreSQL: WAL at the peak", f"{capacity.wal_per_second / 1e6:,.0f} MB/s"),
        ("PostgreSQL: servers, with copies", f"{capacity.databases * copies:,}"),
        (
            "network at the peak: up, down",
            _join(
                f"{rate * _UP_BYTES * 8 / 1e9:,.1f} Gbit/s",
                f"at most {rate * capacity.costs.down_bytes * 8 / 1e9:,.1f} Gbit/s",
            ),
        ),
        ("federations", f"{capacity.federations:,}"),
    ]
    limits = [f"{used:6.0%}  {name}" for used, name in capacity.list_limits()]
    table = [f"{name:45}{value}" for name, value in lines]
    return "\n".join([*table, "", "what is used at the peak; the first breaks first:", *limits])


def _join(*texts: str) -> str:
    return ", ".join(texts)


def main() -> None:
    """Print what a fleet needs."""
    default = Fleet()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--devices", type=int, default=default.devices)
    parser.add_argument("--syncs-per-day", type=float, default=default.syncs_per_day)
    parser.add_argument("--region-factor", type=float, default=default.region_factor)
    parser.add_argument("--replicas", type=int, default=default.replicas)
    parser.add_argument("--patterns-per-device", type=float, default=default.patterns_per_device)
    fleet = Fleet(**vars(parser.parse_args()))
    print(format_capacity(Capacity(fleet, load_costs(load_figures()))))


if __name__ == "__main__":
    main()
