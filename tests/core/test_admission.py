"""Made-up devices cannot take the places of devices that a vendor admitted, nor keep any."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation.core.admission import Admission
from constellation.core.global_state import compute_local_trends
from constellation.core.ingest.deltas import Verdict
from constellation.core.ingest.stats import ShedReason, Stats
from constellation.core.pressure import Pressure
from constellation.core.table.origins import UNKNOWN_ORIGIN, DeviceOrigin
from constellation.core.table.ownership import ShardIdentity
from constellation.errors import ShardFullError
from tests.core.ingest.planned_table import HOUR, NOW, RULES, PlannedTable
from tests.deltas import PatternSpec, device_id, make_delta

if TYPE_CHECKING:
    from constellation.core.ingest.deltas import Delta

DAY = 86_400
ATTESTED = DeviceOrigin(lot=5)
PLACES = 20
FULL_RULES = replace(
    RULES, max_devices=PLACES, max_patterns=100, min_device_age_days=7, attested_reserve=0.25
)


class FullShard(PlannedTable):
    def __init__(self) -> None:
        super().__init__(FULL_RULES)
        self.stats = Stats()
        self.admission = Admission(ShardIdentity(), self.rules, self.table, self.stats)

    def admit(self, number: int, origin: DeviceOrigin = UNKNOWN_ORIGIN) -> None:
        self.admission.admit(device_id(number), Pressure(), origin)

    def commit_from(self, origin: DeviceOrigin, delta: Delta, now: float = NOW) -> Verdict:
        return self.commit(replace(delta, origin=origin), now=now).receipts[0].verdict

    def fill(self, now: float = NOW) -> None:
        """Let made-up devices take as many places as they get; an empty delta is enough."""
        for number in range(2 * PLACES):
            self.commit_from(UNKNOWN_ORIGIN, make_delta(number, 1), now=now)


def test_made_up_devices_leave_the_reserve_to_attested_ones() -> None:
    shard = FullShard()
    shard.fill()

    assert shard.table.totals.devices == 15
    with pytest.raises(ShardFullError, match="of which 5 are for attested devices"):
        shard.admit(99)
    shard.admit(0)  # a device that is known
    shard.admit(99, ATTESTED)
    assert shard.commit_from(ATTESTED, make_delta(99, 1)) is Verdict.APPLIED
    assert shard.stats.shed[ShedReason.DEVICES] == 1


def test_a_full_shard_refuses_attested_devices_as_well() -> None:
    shard = FullShard()
    for number in range(PLACES):
        assert shard.commit_from(ATTESTED, make_delta(number, 1)) is Verdict.APPLIED

    with pytest.raises(ShardFullError, match=r"has 20 devices, and MAX_DEVICES is 20$"):
        shard.admit(99, ATTESTED)
    assert shard.commit_from(ATTESTED, make_delta(99, 1)) is Verdict.REFUSED


def test_unproven_devices_make_room_after_a_day_of_silence_oldest_first() -> None:
    shard = FullShard()
    shard.commit_from(ATTESTED, make_delta(50, 1), now=NOW - 3 * DAY)
    shard.fill(now=NOW - 2 * DAY)
    shard.commit_from(UNKNOWN_ORIGIN, make_delta(3, 2), now=NOW - 1)

    assert shard.planner.find_surplus(NOW - 3 * DAY).tolist() == []
    surplus = shard.planner.find_surplus(NOW - DAY)

    ids = [shard.table.devices["device_id"][row].tobytes() for row in surplus]
    assert len(ids) == 1  # a place below the fullest
    assert ids == [device_id(0)]
    shard.planner.apply(shard.planner.plan_expiry(surplus))
    shard.require_consistent()
    shard.admit(99)


def test_unproven_devices_stay_while_there_is_room() -> None:
    shard = FullShard()
    shard.commit(make_delta(0, 1), now=NOW - 20 * DAY)

    assert shard.planner.find_surplus(NOW - DAY).tolist() == []


def test_devices_in_quarantine_and_counted_ones_do_not_make_room() -> None:
    shard = FullShard()
    shard.fill(now=NOW - 20 * DAY)
    shard.quarantine(0, now=NOW)
    shard.table.devices["active_days"][1:15] = 3
    shard.recount(NOW)

    assert shard.planner.find_surplus(NOW - DAY).tolist() == []


def test_new_devices_put_no_text_among_the_trends() -> None:
    shard = make_shard_with_trend(min_device_age_days=7)
    assert compute_local_trends(shard.table, shard.ring, shard.rules, HOUR) == []

    trusting = make_shard_with_trend(min_device_age_days=0)
    trends = compute_local_trends(trusting.table, trusting.ring, trusting.rules, HOUR)
    assert [trend.content_id for trend in trends] == ["FREE PRIZES at evil.example"]


def make_shard_with_trend(min_device_age_days: int) -> PlannedTable:
    """Return a shard where as many devices as a trend needs watch, and name, a made-up text."""
    rules = replace(FULL_RULES, k_anonymity=5, min_device_age_days=min_device_age_days)
    shard, text = PlannedTable(rules), "FREE PRIZES at evil.example"
    for number in range(shard.table.groups.min_members):
        pattern = PatternSpec(number, number, contents=(text,))
        shard.commit(make_delta(number, 1, [pattern], signals=[(text, HOUR)]))
    return shard
