"""A table whose deltas are planned and applied as the committer does, without a store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.ingest.plan import Plan, Planner
from constellation.core.ingest.recount import find_restanding, find_standing, plan_recount
from constellation.core.rows import Slots, TermKind, digest_rows
from constellation.core.rules import Rules
from constellation.core.table.contributors import EVERY_DEVICE, ContributorSample
from constellation.core.table.hourly import HourlyRing
from constellation.core.table.shard_table import Table
from constellation.core.table.standing import to_day
from tests.deltas import device_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.ingest.deltas import Delta

RULES = Rules(max_devices=6, max_patterns=40, max_patterns_per_device=5, k_anonymity=2)
NOW = 1_800_000_000.0
HOUR = int(NOW) // 3600


class PlannedTable:
    """A table and a ring, planned and applied as the committer does."""

    def __init__(self, rules: Rules = RULES, sample: ContributorSample = EVERY_DEVICE) -> None:
        self.rules = rules
        self.table = Table(rules)
        self.ring = HourlyRing()
        self.planner = Planner(self.table, self.ring, rules, sample)

    def commit(self, *deltas: Delta, now: float = NOW) -> Plan:
        planned = self.planner.plan_commit(deltas, now)
        self.planner.apply(planned)
        return planned

    def read_success_rates(self) -> dict[tuple[bytes, bytes], float]:
        rows = self.table.patterns[: self.table.pattern_allocator.high_water]
        rows = rows[rows["sample_count"] > 0]
        return {
            (
                self.table.devices["device_id"][row["device"]].tobytes(),
                row["pattern_id"].tobytes(),
            ): round(float(row["success_rate"]), 3)
            for row in rows
        }

    def read_liked(self) -> dict[bytes, list[str]]:
        """Return what each device liked, the latest last."""
        table = self.table
        devices = table.liked.list_devices()
        text = partial(table.vocabulary.text, TermKind.CONTENT)
        return {
            table.devices["device_id"][device].tobytes(): [
                text(number) for number in reversed(row[row > 0].tolist())
            ]
            for device, row in zip(devices, table.liked.read(devices)["contents"], strict=True)
        }

    def recount(self, now: float = NOW) -> Slots:
        """Let devices begin or cease to count, as of a time; return which did."""
        today = to_day(now)
        devices = find_restanding(self.table, self.rules, today)
        self._apply_recount(devices, find_standing(self.table, self.rules, devices, today))
        return devices

    def _apply_recount(self, devices: Slots, numbers: NDArray[np.uint8]) -> None:
        change = plan_recount(self.table, devices, numbers)
        change.apply(self.table, self.table.totals.lsn)

    def quarantine(self, *numbers: int, lift: bool = False, now: float = NOW) -> Plan:
        """Put devices into quarantine, by their numbers, or lift it."""
        devices = self.table.find_devices([device_id(number) for number in numbers])
        planned = self.planner.plan_quarantine(devices, now, quarantined=not lift)
        self.planner.apply(planned)
        return planned

    def expire(self, device: int) -> Plan:
        """Remove a device, by its number."""
        planned = self.planner.plan_expiry(np.array([self.table.find_device(device_id(device))]))
        self.planner.apply(planned)
        return planned

    def require_consistent(self) -> None:
        """Compare what was kept up with what the rows say."""
        table = self.table
        rows = table.patterns[: table.pattern_allocator.high_water]
        slots = np.flatnonzero(rows["sample_count"] > 0)
        devices = np.flatnonzero(
            table.devices[: table.device_allocator.high_water]["incarnation"] > 0
        )
        assert table.totals.patterns == len(slots)
        assert table.totals.devices == len(devices)
        assert table.totals.pattern_digest == digest_rows(slots, rows[slots]) % 2**64
        assert table.totals.device_digest == digest_rows(devices, table.devices[devices]) % 2**64
        counts = table.counts_for_others(rows["device"])
        holding = table.find_patterns(devices)
        assert sorted(holding.slots.tolist()) == slots.tolist()
        assert (rows["device"][holding.slots] == devices[holding.owners]).all()
        pairs = {
            (int(row["device"]), int(content))
            for row in rows[slots[counts[slots]]]
            for content in row["contents"][row["contents"] > 0]
        }
        support = np.bincount([content for _, content in pairs], minlength=100)
        assert (table.support.devices[:100] == support).all()
        liking = np.sort(table.liked.list_devices())
        liked_rows = table.liked.read(liking)
        assert np.isin(liking, devices).all()
        assert table.totals.liked_digest == digest_rows(liking, liked_rows) % 2**64
        assert table.liked.content_count == np.count_nonzero(liked_rows["contents"])
        assert len(table.slots_by_pattern) == len(slots)
        assert len(table.slots_by_device) == len(devices)
