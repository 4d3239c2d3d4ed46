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
from examples.demo.comparison import (
    RECOMMENDATION_LIMIT,
    choose_example,
    compare_households,
    compute_hit_rate,
    rank_most_liked,
)
from examples.demo.data import load_data
from examples.demo.final_checks import stop_and_verify
from examples.demo.households import Replay, compute_percentile_ms, open_households
from examples.demo.new_device import start_new_device
from examples.demo.printer import Printer
from examples.demo.report import (
    Report,
    compute_hit_share,
    to_check_lines,
    to_choice_lines,
    to_cluster_lines,
    to_round_lines,
    to_trend_lines,
    write_report,
)
from examples.demo.scenario import Scenario
from examples.demo.servers import start_servers
from examples.demo.stores import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from constellation.v1 import shard_pb2
    from examples.demo.comparison import Comparison
    from examples.demo.data import DemoData
    from examples.demo.final_checks import FinalState
    from examples.demo.households import AckLatencies, Household
    from examples.demo.new_device import NewDevice
    from examples.demo.scenario import ScenarioResult
    from examples.demo.screen import Screen
    from examples.demo.servers import DemoServers

TIMEOUT_SECONDS: Final = 240.0
_SETTLE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.2


async def run(screen: Screen, into: Path, households: int, store_kind: str) -> bool:
    """Run the demo; return whether everything that was checked holds."""
    folder = into / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    async with asyncio.timeout(TIMEOUT_SECONDS), AsyncExitStack() as stack:
        material = await asyncio.to_thread(load_data, households)
        screen.print_line(
            f"{len(material.watched):,} real viewings of {households} MovieLens households; the "
            f"{len(material.held_out):,} films they liked last are held out"
        )
        storage = stack.enter_context(open_storage(store_kind, folder))
        fleet = await stack.enter_async_context(start_servers(storage))
        _announce_servers(screen, fleet, storage.kind)
        await _load_films(screen, fleet, material)
        opening = open_households(
            material.held_out,
            material.household_numbers,
            fleet.shard_map,
            folder,
            material.catalogue,
        )
        devices, acks = await stack.enter_async_context(opening)
        demo = Demo(screen, fleet, material, devices, acks)
        return await demo.run(folder, into / "demo-report.json")


def _announce_servers(screen: Screen, fleet: DemoServers, store: str) -> None:
    for shard in fleet.shards:
        process = shard.process
        screen.print_line(
            f"Shard {shard.shard_id}, {shard.region}, pid {process.pid}, {process.address}, "
            f"on {store}"
        )
    screen.print_line(f"A federation of both, pid {fleet.federation.pid}")
    screen.print_line(
        f"Lowered, for a week in a minute: {_format_settings(shard_process.SETTINGS_OVERRIDES)}"
    )
    screen.print_line(
        f"Lowered, for a small fleet: {_format_settings(federation_process.SETTINGS_OVERRIDES)}"
    )


def _format_settings(lowered: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in lowered.items())


async def _load_films(screen: Screen, fleet: DemoServers, material: DemoData) -> None:
    films = material.films
    started, total = time.monotonic(), len(fleet.shards) * len(films.films)
    done = dict.fromkeys(fleet.shard_map, 0)
    with screen.show_progress("Loading films", total) as update:

        def report_loaded(shard_id: int, loaded: int) -> None:
            done[shard_id] = loaded
            update(sum(done.values()), "")

        added = await asyncio.gather(
            *(
                shard.operator.add_films(films, partial(report_loaded, shard.shard_id))
                for shard in fleet.shards
            )
        )
    seconds = time.monotonic() - started
    screen.print_line(f"{added[0]:,} films in each shard's catalogue, added in {seconds:.1f} s")


class Demo:
    """Shards, a federation, their devices, and what happens to them."""

    def __init__(
        self,
        screen: Screen,
        fleet: DemoServers,
        material: DemoData,
        households: Sequence[Household],
        acks: Mapping[int, AckLatencies],
    ) -> None:
        self._screen = screen
        self._fleet = fleet
        self._material = material
        self._households = households
        self._acks = acks

    async def run(self, folder: Path, report_file: Path) -> bool:
        material, screen = self._material, self._screen
        replay = Replay(
            self._households, material.watched, material.times, self._fleet.require_running
        )
        watching = Scenario(screen, self._fleet, self._households, self._acks, replay)
        scenario_result = await watching.run(folder)
        await self._wait_for_updates()
        new_device = await start_new_device(self._fleet.shard_map, folder, material.catalogue)
        screen.print_line(
            f"A new box was switched on in {self._fleet.shards[new_device.shard_id].region}: after "
            f"{new_device.seconds:.1f} s it holds {new_device.clusters} clusters, "
            f"{new_device.trends} trends"
        )
        stats = [await shard.operator.read_stats() for shard in self._fleet.shards]
        comparisons = await compare_households(material.catalogue, self._households)
        screen.print_line(f"Every one of {len(comparisons)} households asked for films, twice")
        final_state = await stop_and_verify(
            self._fleet, self._households, material, scenario_result, stats
        )
        screen.print_line("All have ended; their stores were compared with the devices' journals")
        verdict = final_state.verdict.add_checks([new_device.check])
        report = self._make_report(
            scenario_result, stats, comparisons, new_device, replace(final_state, verdict=verdict)
        )
        write_report(report, report_file)
        Printer(screen.console, material.catalogue).print_report(
            report, choose_example(comparisons)
        )
        return verdict.passed

    async def _wait_for_updates(self) -> None:
        """Wait until the devices hold what their shards publish now."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while (current := await self._count_current_devices()) < len(self._households):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        updates = sum(each.device.sync.updates_applied for each in self._households)
        self._screen.print_line(
            f"{current} of {len(self._households)} devices hold what their shard publishes now, "
            f"after {updates:,} updates"
        )

    async def _count_current_devices(self) -> int:
        """Count the devices that hold their shard's newest global state."""
        newest = [await shard.operator.read_newest_version() for shard in self._fleet.shards]
        return sum(
            each.outbox.global_state.version == newest[each.shard_id] for each in self._households
        )

    def _make_report(
        self,
        watched: ScenarioResult,
        stats: Sequence[shard_pb2.GetStatsResponse],
        stories: Sequence[Comparison],
        newcomer: NewDevice,
        closed: FinalState,
    ) -> Report:
        material, verdict = self._material, closed.verdict
        names, unlucky = material.catalogue, self._fleet.killed_shard
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
            deltas_applied_twice=verdict.duplicates,
            patterns_stored=verdict.pattern_count,
            syncs_per_second=round(watched.acked_count / watched.seconds, 1),
            ack_p50_ms=round(compute_percentile_ms(self._acks.values(), 50), 2),
            ack_p99_ms=round(compute_percentile_ms(self._acks.values(), 99), 2),
            shard_latency_mean_ms=round(max(latencies) * 1e3, 2),
            kills=unlucky.process.kill_count,
            deltas_stored_unacked=watched.unacked_count,
            recovery_seconds=round(watched.kill.recovery_seconds, 3),
            shard_recovery_seconds=round(stats[unlucky.shard_id].recovery_seconds, 3),
            rounds=to_round_lines(self._fleet.federation.rounds),
            clusters=to_cluster_lines(names, closed.published.clusters),
            trends=to_trend_lines(names, closed.published.trends),
            devices_with_last_clusters=sum(closed.devices_with_clusters.values()),
            new_device=to_choice_lines(names, newcomer.choices[:RECOMMENDATION_LIMIT]),
            new_device_region=self._fleet.shards[newcomer.shard_id].region,
            new_device_seconds=round(newcomer.seconds, 2),
            households_judged=len(stories),
            hit_rate_before=compute_hit_share(stories, (story.hits_before for story in stories)),
            hit_rate_cold_start=compute_hit_rate(
                [each.content_id for each in newcomer.choices], *split
            ),
            hit_rate_popular=compute_hit_rate(rank_most_liked(material.watched), *split),
            hit_rate_after=compute_hit_share(stories, (story.hits_after for story in stories)),
            checks=to_check_lines(verdict),
            seconds=round(self._screen.elapsed_seconds, 1),
        )
