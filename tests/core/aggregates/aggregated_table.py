"""A table with its aggregates, and the same sums computed by hand."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from constellation.core.aggregates.shard_aggregates import Aggregates
from constellation.core.ingest.plan import Planner
from constellation.core.ingest.recount import find_restanding, find_standing, plan_recount
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.table.hourly import HourlyRing
from constellation.core.table.shard_table import Table
from constellation.core.table.standing import to_day
from constellation.encoding import normalise_codes
from constellation.federated.aggregate import AggregateUpdate, AggregateVersion, Anchors
from constellation.federated.fixed_point import WEIGHT_ONE
from tests.deltas import device_id, embedding

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.core.ingest.deltas import Delta
    from constellation.core.ingest.plan import Plan

RULES = Rules(max_devices=8, max_patterns=64, max_patterns_per_device=6, k_anonymity=1)
TWO_ANONYMITY_RULES = replace(RULES, k_anonymity=2)
NOW = 1_800_000_000.0
HOUR = int(NOW) // 3600
DIRECTIONS = 4


def make_anchors(version: int = 1, first: int = 0) -> Anchors:
    """Return anchors at some of the directions that patterns have."""
    embeddings = np.stack([embedding(direction) for direction in range(first, DIRECTIONS)])
    ids = np.arange(first + 1, DIRECTIONS + 1, dtype=np.uint32)
    return Anchors(7, version, ids, embeddings.astype(np.float32))


class AggregatedTable:
    """A table and its aggregates, brought forward as the committer does."""

    def __init__(self, rules: Rules = RULES, *, ready_seconds: float = 2.0) -> None:
        self.rules = rules
        self.table = Table(rules)
        self.ring = HourlyRing()
        self.planner = Planner(self.table, self.ring, rules)
        self.today = to_day(NOW)
        """The day of the last recount."""
        self.aggregates = Aggregates(self.table, self.ring, rules, ready_seconds=ready_seconds)

    def commit(self, *deltas: Delta, now: float = NOW) -> None:
        self._apply(self.planner.plan_commit(deltas, now))

    def recount(self, now: float = NOW) -> None:
        """Let devices begin or cease to count, as of a time."""
        self.today = to_day(now)
        devices = find_restanding(self.table, self.rules, to_day(now))
        numbers = find_standing(self.table, self.rules, devices, to_day(now))
        change = plan_recount(self.table, devices, numbers)
        self.aggregates.record(change)
        change.apply(self.table, self.table.totals.lsn)

    def quarantine(self, device: int, *, lift: bool = False, now: float = NOW) -> None:
        slot = self.table.find_device(device_id(device))
        if slot >= 0:
            self._apply(self.planner.plan_quarantine(np.array([slot]), now, quarantined=not lift))

    def expire(self, device: int) -> None:
        slot = self.table.find_device(device_id(device))
        if slot >= 0:
            self._apply(self.planner.plan_expiry(np.array([slot])))

    def use_anchors(self, new_anchors: Anchors) -> None:
        asyncio.run(self.aggregates.build(new_anchors, run_with_commits_paused))

    def get_update(self, base: int = 0) -> AggregateUpdate:
        return self.aggregates.update_since(AggregateVersion(7, 3, 0), base, "north")

    def _apply(self, planned: Plan) -> None:
        self.aggregates.record(planned.pattern_change)
        self.planner.apply(planned)


async def run_with_commits_paused(work: Callable[[], None]) -> None:
    """Run something while nothing is committed: nothing else runs here."""
    work()


def compute_by_hand(shard: AggregatedTable, anchors: Anchors) -> dict[int, dict[str, Any]]:
    """Work the sums out again, from the stored rows, one pattern after the other."""
    table = shard.table
    patterns = [
        row for row in table.patterns[: table.pattern_allocator.high_water] if row["sample_count"]
    ]
    owned = defaultdict(list)
    for row in patterns:
        device_row = table.devices[row["device"]]
        is_proven = not shard.rules.min_device_age_days or device_row["active_days"] > 0
        is_old = shard.today - device_row["first_day"] >= shard.rules.min_device_age_days
        if is_proven and is_old and not device_row["quarantined"]:
            owned[int(row["device"])].append(row)
    sums: dict[int, dict[str, Any]] = {}
    for device, rows in owned.items():
        claimed = [
            round(float(row["success_rate"]) * min(int(row["sample_count"]), 16) / 16 * WEIGHT_ONE)
            for row in rows
        ]
        halvings = max(0, math.ceil(math.log2(sum(claimed) / WEIGHT_ONE)))
        for row, claim in zip(rows, claimed, strict=True):
            cosines = anchors.embeddings @ normalise_codes(row["codes"][None])[0]
            cluster = sums.setdefault(
                int(anchors.cluster_ids[cosines.argmax()]),
                {"devices": set(), "weight": 0, "sum": np.zeros(384, np.int64), "contents": set()},
            )
            weight = claim >> halvings
            codes = row["codes"].astype(np.int64)
            factor = round(weight * 1024 / math.sqrt(int((codes**2).sum())))
            cluster["devices"].add(device)
            cluster["weight"] += weight
            cluster["sum"] += factor * codes
            for number in row["contents"][row["contents"] > 0].tolist():
                text = table.vocabulary.text(TermKind.CONTENT, number)
                cluster["contents"].add((device, text))
    return sums


def require_same(update: AggregateUpdate, expected: dict[int, dict[str, Any]]) -> None:
    rows = update.clusters
    filled = {
        int(cid): row for row, cid in enumerate(rows.cluster_ids) if rows.features.devices[row]
    }
    assert filled.keys() == expected.keys()
    for cluster_id, row in filled.items():
        cluster = expected[cluster_id]
        assert rows.features.devices[row] == len(cluster["devices"])
        assert rows.features.weights[row] == cluster["weight"]
        assert (rows.features.sums[row] == cluster["sum"]).all()
        assert rows.features.contexts[row].sum() == 3 * cluster["weight"]
