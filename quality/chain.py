"""The whole system on real households: devices share, a federation runs rounds, devices recommend.

Two of three households are in the fleet from the beginning. The others are newcomers: the curve
follows them from a new device to 50 views, while the others are complete. At the end all households
have watched everything but what is held out, and each way to recommend is measured.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation_settop import RankingWeights
from constellation_settop.values import SECONDS_PER_HOUR
from quality.baselines import NewcomerCeiling, measure_baselines, measure_popularity
from quality.devices import DevicePool, DeviceTask, Visit, open_pool, select_weights
from quality.fleet import SMALL_FLEET_SETTINGS, Federation, Fleet, start_shards
from quality.metrics import Quality, Rows, measure_quality
from quality.results import ChainResult, CurvePoint, Row, ShortRun, TrafficRow
from quality.schedule import make_views
from quality.split import thin_out
from testing.catalogue import load_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from quality.counting_proxy import Traffic
    from quality.split import Household

NEWCOMER_STEP: Final = 3
"""Every third household is a newcomer."""
CURVE_VIEWS: Final = (0, 5, 10, 20, 50)
"""Views after which newcomers are measured."""
DAY_VIEWS: Final = 4
"""Views of a device in a day whose traffic is measured; it syncs after each."""
DAY_DEVICES: Final = 150
"""Devices that have this day."""
MIN_ROUNDS: Final = 4
"""A new federation finds anchors, then clusters; related content takes two rounds as well."""
MAX_ROUNDS: Final = 20
SETTLED_SHARE: Final = 0.005
"""By how much the bytes of two rounds differ at most: anchors go on moving a little."""


_SOURCES: Final[Sequence[tuple[str, str, Callable[[str], bool]]]] = (
    (
        "with_similar",
        "with similar patterns only",
        lambda name: name.startswith(("own", "similar")),
    ),
    ("without_similar", "without similar patterns", lambda name: not name.startswith("similar")),
    ("without_clusters", "without clusters", lambda name: not name.startswith("cluster")),
    ("without_trends", "without trends", lambda name: not name.startswith("trend")),
    ("without_related", "without related content", lambda name: not name.startswith("related")),
    ("without_popular", "without popular content", lambda name: not name.startswith("popular")),
)
"""Ways to recommend with some sources only: name, label, and which ranking weights count."""


class UnsettledError(Exception):
    """The rounds of a federation kept changing what it publishes."""


@dataclass(frozen=True, slots=True)
class System:
    """Everything that runs, and the households whose devices it serves."""

    fleet: Fleet
    pool: DevicePool
    content_count: int
    """Films of the catalogue."""
    started_at: float
    """Seconds since 1970. The views of all households end in the hour before."""

    def plan_history(self, household: Household, prefix: str = "household") -> DeviceTask:
        """Return a visit in which a device watches everything that it may see."""
        views = make_views(household.watched, self.started_at - SECONDS_PER_HOUR)
        return DeviceTask(f"{prefix}-{household.number}", views)

    async def visit(
        self, tasks: Sequence[DeviceTask], weights: RankingWeights | None = None
    ) -> list[Rows]:
        """Let devices watch, sync and recommend. With weights they stay offline instead."""
        shard_map = self.fleet.shard_map if weights is None else None
        visit = Visit(self.fleet.folder, shard_map, weights or RankingWeights())
        return await self.pool.visit(visit, tasks)

    def measure(self, ranked: Sequence[Rows], households: Sequence[Household]) -> Quality:
        """Return the quality of one list for each household."""
        return measure_quality(
            ranked, [each.wanted_rows for each in households], self.content_count
        )


@asynccontextmanager
async def start_system() -> AsyncIterator[System]:
    """Start the shards and the processes of devices. Everything ends with the block."""
    films = load_catalogue()
    with TemporaryDirectory(prefix="quality-") as folder, open_pool() as pool:
        async with start_shards(Path(folder), films) as fleet:
            yield System(fleet, pool, len(films.films), time.time())


async def run_chain(households: Sequence[Household], split: str) -> ChainResult:
    """Measure the whole system on these households, beside the centralised baselines."""
    newcomers = households[::NEWCOMER_STEP]
    others = [each for each in households if each not in newcomers]
    async with start_system() as system:
        content_count = system.content_count
        print("devices share what they have watched", flush=True)
        before = system.fleet.traffic
        await system.visit([system.plan_history(each) for each in others])
        traffic = [_average("the first sync: a whole history", system, before, len(others))]
        async with Federation.open(system.fleet, "small-fleet", SMALL_FLEET_SETTINGS) as federation:
            await settle(federation)
            print("newcomers watch their first films", flush=True)
            reached = await follow_newcomers(system, newcomers)
            await settle(federation)
            rows, received = await measure_devices(system, households)
        print("a federation with the floors of a large fleet", flush=True)
        async with Federation.open(system.fleet, "large-fleet", {}) as federation:
            await settle(federation)
            rows += await measure_large_floors(system, households)
        print("a day", flush=True)
        async with Federation.open(system.fleet, "day", SMALL_FLEET_SETTINGS) as federation:
            await settle(federation)
            traffic += [received, *await measure_day(system, federation, households)]
    print("centralised baselines", flush=True)
    popular = measure_popularity(others, newcomers, content_count)
    ceiling = NewcomerCeiling(others, newcomers, content_count)
    return ChainResult(
        split=split,
        households=len(households),
        baselines=measure_baselines(households, content_count),
        devices=rows,
        newcomer_popularity=popular.quality,
        curve=[
            CurvePoint(views, quality, ceiling.measure(views)) for views, quality in reached.items()
        ],
        traffic=traffic,
    )


async def run_short(households: Sequence[Household]) -> ShortRun:
    """Measure once what tests guard."""
    async with start_system() as system:
        await system.visit([system.plan_history(each) for each in households])
        async with Federation.open(system.fleet, "small-fleet", SMALL_FLEET_SETTINGS) as federation:
            await settle(federation)
            everything = await system.visit(_plan_return(households))
            new_device = await system.visit(_plan_new(households))
        return ShortRun(
            with_everything=system.measure(everything, households).ndcg,
            new_device=system.measure(new_device, households).ndcg,
        )


async def settle(federation: Federation) -> None:
    """Run rounds until two in a row publish about equally much.

    Raises UnsettledError after MAX_ROUNDS.
    """
    counts: list[tuple[int, int, int]] = []
    sizes: list[int] = []
    while len(counts) < MAX_ROUNDS:
        report = await federation.run_round()
        counts.append((report.anchor_count, report.cluster_count, report.related_count))
        sizes.append(report.result_bytes)
        is_enough = len(counts) >= MIN_ROUNDS and counts[-1] == counts[-2]
        if is_enough and abs(sizes[-1] - sizes[-2]) <= SETTLED_SHARE * sizes[-1]:
            return
    raise UnsettledError(
        f"anchors, clusters and related rows of {MAX_ROUNDS} rounds: {counts}; bytes: {sizes}"
    )


async def follow_newcomers(system: System, newcomers: Sequence[Household]) -> Mapping[int, Quality]:
    """Let devices watch their first films, then the rest; return the quality by views on the way.

    Everything that the household has watched counts as seen from the beginning, also what its
    device has not been told yet, so that every point is asked the same.
    """
    plans = [system.plan_history(each) for each in newcomers]
    reached: dict[int, Quality] = {}
    start = 0
    for count in CURVE_VIEWS:
        tasks = [
            DeviceTask(plan.name, plan.views[start:count], each.watched.content_rows)
            for plan, each in zip(plans, newcomers, strict=True)
        ]
        ranked = await system.visit(tasks)
        reached[count] = system.measure(ranked, newcomers)
        start = count
    await system.visit([DeviceTask(plan.name, plan.views[start:]) for plan in plans])
    return reached


async def measure_devices(
    system: System, households: Sequence[Household]
) -> tuple[list[Row], TrafficRow]:
    """Return the quality of each way to recommend, and what receiving everything takes."""
    before = system.fleet.traffic
    everything = await system.visit(_plan_return(households))
    received = _average("a sync after new rounds", system, before, len(households))
    new_device = await system.visit(_plan_new(households))
    alone = [system.plan_history(each, "alone") for each in households]
    lists = [
        ("new_device", "a new device, floors at 5", new_device),
        ("alone", "a device alone", await system.visit(alone, RankingWeights())),
    ]
    for name, label, keep in _SOURCES:
        print(label, flush=True)
        ranked = await system.visit(_plan_return(households), select_weights(keep))
        lists.append((name, label, ranked))
    lists.append(("with_everything", "with everything, floors at 5", everything))
    return [
        Row(name, label, system.measure(ranked, households)) for name, label, ranked in lists
    ], received


async def measure_large_floors(system: System, households: Sequence[Household]) -> list[Row]:
    """Return the quality with the federation's default floors, which are for large fleets."""
    everything = await system.visit(_plan_return(households))
    new_device = await system.visit(_plan_new(households))
    return [
        Row(
            "new_device_at_50", "a new device, floors at 50", system.measure(new_device, households)
        ),
        Row(
            "with_everything_at_50",
            "with everything, floors at 50",
            system.measure(everything, households),
        ),
    ]


async def measure_day(
    system: System, federation: Federation, households: Sequence[Household]
) -> tuple[TrafficRow, TrafficRow]:
    """Return the traffic of a sync without news, and of a day.

    In a day there are some views, a sync after each, and a round after each. The devices watch what
    is held out, so nothing may be measured with them afterwards.
    """
    watching = thin_out(households, min(DAY_DEVICES, len(households)))
    await system.visit(_plan_return(watching))  # receives what is not of this day
    before = system.fleet.traffic
    await federation.run_round()
    await system.visit(_plan_return(watching))
    idle = _average("a sync after a round without news", system, before, len(watching))
    before = system.fleet.traffic
    for number in range(DAY_VIEWS):
        await system.visit(
            [
                DeviceTask(task.name, make_views(each.later.take(np.array([number])), time.time()))
                for task, each in zip(_plan_return(watching), watching, strict=True)
                if number < len(each.later)
            ]
        )
        await federation.run_round()
    label = f"a day: {DAY_VIEWS} views, a sync and a round after each"
    return idle, _average(label, system, before, len(watching))


def _plan_return(households: Sequence[Household]) -> list[DeviceTask]:
    """Return visits of devices that have watched their history already."""
    return [DeviceTask(f"household-{each.number}") for each in households]


def _plan_new(households: Sequence[Household]) -> list[DeviceTask]:
    """Return visits of new devices: they have watched nothing, but their households have."""
    return [
        DeviceTask(f"new-{each.number}", known_rows=each.watched.content_rows)
        for each in households
    ]


def _average(label: str, system: System, before: Traffic, devices: int) -> TrafficRow:
    """Return the traffic since `before`, for each device."""
    spent = system.fleet.traffic - before
    return TrafficRow(label, devices, spent.up / devices, spent.down / devices)
