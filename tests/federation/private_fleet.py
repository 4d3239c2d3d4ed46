"""Shards of the differentially private mode, and a federation above them whose clock is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from constellation import wall_clock
from constellation.config import Count, NonNegative, Ratio, Seconds
from constellation.federated.weeks import WEEK_SECONDS, find_week_start
from tests.federation.liked import CountingShard, Household, make_households

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LIKED_LIMIT: Final = 8
WEEK: Final = 3500
"""A week in 2037: journals, which have the real clock, are older."""
MONDAY: Final = find_week_start(WEEK)


@dataclass
class Clock:
    """The clock of this process, which stands still until it is set."""

    now: float = float(MONDAY)

    def time(self) -> float:
        return self.now

    def set(self, hours: float, weeks: int = 0) -> None:
        """Set it to this long after the Monday of WEEK."""
        self.now = MONDAY + weeks * WEEK_SECONDS + hours * 3600.0


def install_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the product read its clock here; gRPC, for its deadlines, keeps the real one."""
    clock = Clock()
    monkeypatch.setattr(wall_clock, "time", clock)
    return clock


def bound(household: Household) -> Household:
    """Return the content items of a household that enter the counts."""
    return frozenset(sorted(household)[:LIKED_LIMIT])


def make_private_shards(count: int = 2, households: int = 2000) -> list[CountingShard]:
    """Return shards with bounds; each device watched one content item in each hour since Monday."""
    shards = []
    for number in range(count):
        shard = CountingShard(
            number, [bound(each) for each in make_households(households, number, 24)]
        )
        shard.liked_limit = LIKED_LIMIT
        shard.is_complete = True
        shards.append(shard)
    return shards


def watch(shard: CountingShard, content_id: str, hours: range, devices: int) -> None:
    """Let devices watch a content item in hours after the Monday of WEEK."""
    for hour in hours:
        shard.hours[content_id, MONDAY // 3600 + hour] = devices
    shard.version += 1


def make_settings(data_dir: Path, epsilon: float = 4) -> dict[str, Any]:
    """Return the settings of a federation in this mode, or, for an epsilon of 0, without noise."""
    return {
        "data_dir": data_dir,
        "privacy_epsilon": NonNegative(epsilon),
        "privacy_delta": Ratio(1e-9),
        "related_interval_secs": Seconds(0),
        "related_contents": Count(30),
        "related_lambda": Count(20),
        "global_k_anonymity": Count(50),
    }
