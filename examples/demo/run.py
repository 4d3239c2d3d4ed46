"""One run of the demo, from an empty folder to the report."""

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
    ALONE,
    NEW,
    RECOMMENDATION_LIMIT,
    TOGETHER,
    choose_example,
    compare_households,
    judge_recommenders,
)
from examples.demo.data import load_data
from examples.demo.final_checks import stop_and_verify
from examples.demo.households import Replay, compute_median_ms, open_households
from examples.demo.new_device import start_new_device
from examples.demo.printer import Printer
from examples.demo.report import (
    Report,
    to_check_lines,
    to_choice_lines,
    to_cluster_lines,
    to_quality_lines,
    to_round_lines,
    to_trend_lines,
    write_report,
)
from examples.demo.scenario import Scenario
from examples.demo.security import OpenFleet, SecureFleet
from examples.demo.servers import start_servers
from examples.demo.stores import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from constellation.v1 import shard_pb2
    from constellation_settop import Recommendation
    from examples.demo.comparison import Comparison
    from examples.demo.data import DemoData
    from examples.demo.final_checks import FinalState
    from examples.demo.households import AckLatencies, Household
    from examples.demo.new_device import NewDevice
    from examples.demo.scenario import ScenarioResult
    from examples.demo.screen import Screen
    from examples.demo.servers import DemoServers
    from quality.metrics import Quality

TIMEOUT_SECONDS: Final = 240.0
"""How long the demo may take."""
_SETTLE_SECONDS: Final = 20.0
"""How long devices may take to get the last global state."""
_POLL_SECONDS: Final = 0.2


async def run(
    screen: Screen, into: Path, households: int, store_kind: str, *, is_secure: bool = False
) -> bool:
    """Run the demo; return whether every check passes.

    `into` gets demo-report.json and the folder demo/, which is emptied first. Raises DemoError when
    the demo cannot continue, and TimeoutError after TIMEOUT_SECONDS.
    """
    folder = into / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    async with asyncio.timeout(TIMEOUT_SECONDS), AsyncExitStack() as stack:
        data = await asyncio.to_thread(load_data, households)
        screen.print_line(
            f"{len(data.watched):,} real viewings of {households} MovieLens households; "
            f"{len(data.held_out):,} films that they liked are held out"
        )
        storage = stack.enter_context(open_storage(store_kind, folder))
        security = SecureFleet(folder / "pki") if is_secure else OpenFleet()
        servers = await stack.enter_async_context(start_servers(storage, security))
        _announce_servers(screen, servers, storage.kind)
        await _load_films(screen, servers, data)
        opening = open_households(
            data.held_out,
            data.household_numbers,
            servers.shard_map,
            folder,
            data.catalogue,
            security,
        )
        devices, acks = await stack.enter_async_context(opening)
        demo = Demo(screen, servers, data, devices, acks)
        return await demo.run(folder, into / "demo-report.json")


def _announce_servers(screen: Screen, servers: DemoServers, store: str) -> None:
    for shard in servers.shards:
        process = shard.process
        screen.print_line(
            f"Shard {shard.shard_id}, {shard.region}, pid {process.pid}, {process.address}, "
            f"on {store}"
        )
    screen.print_line(f"Federation of both, pid {servers.federation.pid}")
    screen.print_line(f"All of them {servers.security.name}")
    screen.print_line(
        "Shard settings, for a week in a minute: "
        + _format_settings(shard_process.SETTINGS_OVERRIDES)
    )
    screen.print_line(
        "Federation settings, for few devices: "
        + _format_settings(federation_process.SETTINGS_OVERRIDES)
    )


def _format_settings(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


async def _load_films(screen: Screen, servers: DemoServers, data: DemoData) -> None:
    films = data.films
    started, total = time.monotonic(), len(servers.shards) * len(films.films)
    done = dict.fromkeys(servers.shard_map, 0)
    with screen.show_progress("Adding films", total) as update:

        def report_loaded(shard_id: int, loaded: int) -> None:
            done[shard_id] = loaded
            update(sum(done.values()), "")

        added = await asyncio.gather(
            *(
                shard.operator.add_films(films, partial(report_loaded, shard.shard_id))
                for shard in servers.shards
            )
        )
    seconds = time.monotonic() - started
    screen.print_line(f"{added[0]:,} films added to the catalogue of each shard in {seconds:.1f} s")


class Demo:
    """A run of the demo on servers and devices that are open."""

    def __init__(
        self,
        screen: Screen,
        servers: DemoServers,
        data: DemoData,
        households: Sequence[Household],
        acks: Mapping[int, AckLatencies],
    ) -> None:
        self._screen = screen
        self._servers = servers
        self._data = data
        self._households = households
        self._acks = acks

    async def run(self, folder: Path, report_file: Path) -> bool:
        """Run the scenario, verify and report it; return whether every check passes."""
        data, screen = self._data, self._screen
        replay = Replay(self._households, data.watched, data.times, self._servers.require_running)
        scenario = Scenario(screen, self._servers, self._households, self._acks, replay)
        scenario_result = await scenario.run(folder)
        await self._wait_for_updates()
        new_device = await start_new_device(
            self._servers.shard_map, folder, data.catalogue, self._servers.security
        )
        region = self._servers.shards[new_device.shard_id].region
        screen.print_line(
            f"A new television was switched on in {region}: after {new_device.seconds:.1f} s it "
            f"has {new_device.clusters} clusters and {new_device.trends} trends"
        )
        stats = [await shard.operator.read_stats() for shard in self._servers.shards]
        comparisons = await compare_households(data.catalogue, self._households)
        screen.print_line(
            f"{len(comparisons)} households asked for films, alone and with what others learned"
        )
        final_state = await stop_and_verify(
            self._servers, self._households, data, scenario_result, stats
        )
        screen.print_line(
            "Every server has ended; the stores were compared with the journals of the devices"
        )
        verdict = final_state.verdict.add_checks([new_device.check])
        report = await asyncio.to_thread(
            self._make_report,
            scenario_result,
            stats,
            comparisons,
            new_device,
            replace(final_state, verdict=verdict),
        )
        write_report(report, report_file)
        Printer(screen.console, data.catalogue).print_report(report, choose_example(comparisons))
        return verdict.passed

    async def _wait_for_updates(self) -> None:
        """Wait until the devices have the newest global state of their shards."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while (current := await self._count_current_devices()) < len(self._households):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        updates = sum(each.device.sync.updates_applied for each in self._households)
        self._screen.print_line(
            f"{current} of {len(self._households)} devices have the newest global state, after "
            f"{updates:,} updates"
        )

    async def _count_current_devices(self) -> int:
        """Count the devices that have the newest global state of their shard."""
        newest = [await shard.operator.read_newest_version() for shard in self._servers.shards]
        return sum(
            each.outbox.global_state.version == newest[each.shard_id] for each in self._households
        )

    def _make_report(
        self,
        scenario_result: ScenarioResult,
        stats: Sequence[shard_pb2.GetStatsResponse],
        comparisons: Sequence[Comparison],
        new_device: NewDevice,
        final_state: FinalState,
    ) -> Report:
        data, verdict = self._data, final_state.verdict
        names, killed_shard = data.catalogue, self._servers.killed_shard
        slower = max(stats, key=lambda each: each.sync_latency_p99_seconds)
        return Report(
            devices=len(self._households),
            devices_by_shard=[
                sum(each.shard_id == shard_id for each in self._households)
                for shard_id in self._servers.shard_map
            ],
            viewings=len(data.watched),
            deltas_acked=verdict.acked,
            deltas_lost=verdict.lost,
            deltas_applied_twice=verdict.duplicates,
            patterns_stored=verdict.pattern_count,
            syncs_per_second=round(scenario_result.acked_count / scenario_result.seconds, 1),
            sync_latency_mean_ms=round(slower.sync_latency_mean_seconds * 1e3, 2),
            sync_latency_p99_ms=round(slower.sync_latency_p99_seconds * 1e3, 2),
            ack_p50_ms=round(compute_median_ms(self._acks.values()), 2),
            kills=killed_shard.process.kill_count,
            deltas_stored_unacked=scenario_result.unacked_count,
            recovery_seconds=round(scenario_result.kill.recovery_seconds, 3),
            shard_recovery_seconds=round(stats[killed_shard.shard_id].recovery_seconds, 3),
            rounds=to_round_lines(self._servers.federation.rounds),
            clusters=to_cluster_lines(names, final_state.published.clusters),
            trends=to_trend_lines(names, final_state.published.trends),
            devices_with_last_clusters=sum(final_state.devices_with_clusters.values()),
            new_device=to_choice_lines(names, new_device.choices[:RECOMMENDATION_LIMIT]),
            new_device_region=self._servers.shards[new_device.shard_id].region,
            new_device_seconds=round(new_device.seconds, 2),
            households_judged=len(comparisons),
            quality=to_quality_lines(self._judge(comparisons, new_device)),
            checks=to_check_lines(verdict),
            seconds=round(self._screen.elapsed_seconds, 1),
        )

    def _judge(
        self, comparisons: Sequence[Comparison], new_device: NewDevice
    ) -> Mapping[str, Quality]:
        """Return how well each recommender finds the films that are held out."""
        recommended = {
            ALONE: [list_ids(each.before) for each in comparisons],
            NEW: [list_ids(new_device.choices)] * len(comparisons),
            TOGETHER: [list_ids(each.after) for each in comparisons],
        }
        numbers = [each.household.number for each in comparisons]
        return judge_recommenders(self._data, numbers, recommended)


def list_ids(choices: Sequence[Recommendation]) -> list[str]:
    """Return the content ids that are recommended, the best first."""
    return [each.content_id for each in choices]
