"""One run of the demo, from an empty folder to a verdict."""

from __future__ import annotations

import asyncio
import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from examples.demo import federation_process, shard_process
from examples.demo.comparison import LIMIT, choose, hit_rate, liked_most, tell_stories
from examples.demo.data import prepare
from examples.demo.final_checks import close
from examples.demo.households import Replay, open_households, percentile_ms
from examples.demo.new_device import power_on
from examples.demo.printer import Printer
from examples.demo.report import (
    Report,
    check_lines,
    choice_lines,
    cluster_lines,
    round_lines,
    share,
    trend_lines,
    write,
)
from examples.demo.scenario import Watching
from examples.demo.servers import open_fleet
from examples.demo.stores import demo_storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from constellation.v1 import shard_pb2
    from examples.demo.comparison import Story
    from examples.demo.data import Material
    from examples.demo.final_checks import Closed
    from examples.demo.households import Acks, Household
    from examples.demo.new_device import Newcomer
    from examples.demo.scenario import Watched
    from examples.demo.screen import Screen
    from examples.demo.servers import Fleet

LIMIT_SECONDS: Final = 240.0
_SETTLE_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.2


async def run(screen: Screen, into: Path, households: int, store_kind: str) -> bool:
    """Run the demo; return whether everything that was checked holds."""
    folder = into / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    async with asyncio.timeout(LIMIT_SECONDS), AsyncExitStack() as stack:
        material = await asyncio.to_thread(prepare, households)
        screen.say(
            f"{len(material.watched):,} real viewings of {households} MovieLens households; the "
            f"{len(material.held_out):,} films they liked last are held out"
        )
        storage = stack.enter_context(demo_storage(store_kind, folder))
        fleet = await stack.enter_async_context(open_fleet(storage))
        _say_who_serves(screen, fleet, storage.kind)
        await _load(screen, fleet, material)
        opening = open_households(
            material.held_out, material.numbers, fleet.shard_map, folder, material.catalogue
        )
        devices, acks = await stack.enter_async_context(opening)
        demo = Demo(screen, fleet, material, devices, acks)
        return await demo.run(folder, into / "demo-report.json")


def _say_who_serves(screen: Screen, fleet: Fleet, store: str) -> None:
    for shard in fleet.shards:
        process = shard.process
        screen.say(
            f"Shard {shard.shard_id}, {shard.region}, pid {process.pid}, {process.address}, "
            f"on {store}"
        )
    screen.say(f"A federation of both, pid {fleet.federation.pid}")
    screen.say(f"Lowered, for a week in a minute: {_settings(shard_process.LOWERED)}")
    screen.say(f"Lowered, for a small fleet: {_settings(federation_process.LOWERED)}")


def _settings(lowered: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in lowered.items())


async def _load(screen: Screen, fleet: Fleet, material: Material) -> None:
    films = material.films
    started, total = time.monotonic(), len(fleet.shards) * len(films.films)
    done = dict.fromkeys(fleet.shard_map, 0)
    with screen.bar("Loading films", total) as tell:

        def count(shard_id: int, loaded: int) -> None:
            done[shard_id] = loaded
            tell(sum(done.values()), "")

        added = await asyncio.gather(
            *(shard.operator.load(films, partial(count, shard.shard_id)) for shard in fleet.shards)
        )
    seconds = time.monotonic() - started
    screen.say(f"{added[0]:,} films in each shard's catalogue, added in {seconds:.1f} s")


class Demo:
    """Shards, a federation, their devices, and what happens to them."""

    def __init__(
        self,
        screen: Screen,
        fleet: Fleet,
        material: Material,
        households: Sequence[Household],
        acks: Mapping[int, Acks],
    ) -> None:
        self._screen = screen
        self._fleet = fleet
        self._material = material
        self._households = households
        self._acks = acks

    async def run(self, folder: Path, report_file: Path) -> bool:
        material, screen = self._material, self._screen
        replay = Replay(self._households, material.watched, material.times, self._fleet.require_up)
        watching = Watching(screen, self._fleet, self._households, self._acks, replay)
        watched = await watching.run(folder)
        await self._settle()
        newcomer = await power_on(self._fleet.shard_map, folder, material.catalogue)
        screen.say(
            f"A new box was switched on in {self._fleet.shards[newcomer.shard_id].region}: after "
            f"{newcomer.seconds:.1f} s it holds {newcomer.clusters} clusters, "
            f"{newcomer.trends} trends"
        )
        stats = [await shard.operator.measure() for shard in self._fleet.shards]
        stories = await tell_stories(material.catalogue, self._households)
        screen.say(f"Every one of {len(stories)} households asked for films, twice")
        closed = await close(self._fleet, self._households, material, watched, stats)
        screen.say("All have ended; their stores were compared with the devices' journals")
        verdict = closed.verdict.with_checks([newcomer.check])
        report = self._report(watched, stats, stories, newcomer, replace(closed, verdict=verdict))
        write(report, report_file)
        Printer(screen.console, material.catalogue).report(report, choose(stories))
        return verdict.holds

    async def _settle(self) -> None:
        """Wait until the devices hold what their shards publish now."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while (level := await self._level()) < len(self._households):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        updates = sum(each.device.sync.updates_applied for each in self._households)
        self._screen.say(
            f"{level} of {len(self._households)} devices hold what their shard publishes now, "
            f"after {updates:,} updates"
        )

    async def _level(self) -> int:
        """Count the devices that hold their shard's newest global state."""
        newest = [await shard.operator.newest_global() for shard in self._fleet.shards]
        return sum(
            each.outbox.global_state.version == newest[each.shard_id] for each in self._households
        )

    def _report(
        self,
        watched: Watched,
        stats: Sequence[shard_pb2.GetStatsResponse],
        stories: Sequence[Story],
        newcomer: Newcomer,
        closed: Closed,
    ) -> Report:
        material, verdict = self._material, closed.verdict
        names, unlucky = material.catalogue, self._fleet.unlucky
        split = (material.watched, material.held_out)
        latencies = [each.sync_latency_mean_seconds for each in stats]
        return Report(
            devices=len(self._households),
            devices_by_shard=[
                sum(each.shard_id == shard_id for each in self._households)
                for shard_id in self._fleet.shard_map
            ],
            viewings=len(material.watched),
            deltas_acked=verdict.acked,
            deltas_lost=verdict.lost,
            deltas_applied_twice=verdict.twice,
            patterns_stored=verdict.patterns,
            syncs_per_second=round(watched.acked / watched.seconds, 1),
            ack_p50_ms=round(percentile_ms(self._acks.values(), 50), 2),
            ack_p99_ms=round(percentile_ms(self._acks.values(), 99), 2),
            shard_latency_mean_ms=round(max(latencies) * 1e3, 2),
            kills=unlucky.process.kills,
            deltas_stored_unacked=watched.unacked,
            recovery_seconds=round(watched.killed.recovery_seconds, 3),
            shard_recovery_seconds=round(stats[unlucky.shard_id].recovery_seconds, 3),
            rounds=round_lines(self._fleet.federation.asked),
            clusters=cluster_lines(names, closed.published.clusters),
            trends=trend_lines(names, closed.published.trends),
            devices_with_last_clusters=sum(closed.holders.values()),
            new_box=choice_lines(names, newcomer.choices[:LIMIT]),
            new_box_region=self._fleet.shards[newcomer.shard_id].region,
            new_box_seconds=round(newcomer.seconds, 2),
            households_judged=len(stories),
            hit_rate_before=share(stories, (story.hits_before for story in stories)),
            hit_rate_cold_start=hit_rate([each.content_id for each in newcomer.choices], *split),
            hit_rate_popular=hit_rate(liked_most(material.watched), *split),
            hit_rate_after=share(stories, (story.hits_after for story in stories)),
            checks=check_lines(verdict),
            seconds=round(self._screen.seconds, 1),
        )
