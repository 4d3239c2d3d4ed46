"""A week of watching: rounds of the federation on the way, and one shard killed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.v1 import federation_pb2 as pb
from examples.demo.households import compute_percentile_ms
from examples.demo.screen import update_progress_forever
from examples.demo.store_state import DeltaCounts, StoreState, read_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
    from pathlib import Path

    from examples.demo.federation_process import RequestedRound
    from examples.demo.households import AckLatencies, Household, Replay
    from examples.demo.screen import Screen
    from examples.demo.servers import DemoServers

FIRST_ROUND_AT: Final = 0.35
"""Share of the viewings; more are watched meanwhile."""
PAUSE_AT: Final = 0.45
"""Then all is acked once, and the counters of the shard that will be killed are read."""
KILL_AT: Final = 0.5
SECOND_ROUND_AT: Final = 0.65
BURST_VIEWINGS: Final = 400
"""Viewings at once, right before the kill ..."""
BURST_ACKS: Final = 1
"""... which comes with so many acks: other deltas are stored but not acked, others on their way."""
BURST_SECONDS: Final = 0.5
"""The kill waits no longer for them."""
RECONNECT_SECONDS: Final = 3.0
"""A federation that met nobody at an address looks there again within so long."""
_WATCH_SECONDS: Final = 0.5
_RATE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class KillResult:
    """What a killed process left, and how it went on."""

    stored: StoreState
    acked_count: int
    """Deltas that its devices had acks for."""
    recovery_seconds: float
    """From SIGKILL to the next ack, without the round that was asked for in between."""
    restarted_at: float
    """When the next process served; of the monotonic clock."""


@dataclass(frozen=True, slots=True, eq=False)
class ScenarioResult:
    """What was measured while the devices replayed."""

    seconds: float
    acked_count: int
    counts_before_kill: DeltaCounts
    """The first process of the killed shard, in the quiet moment before."""
    kill: KillResult

    @property
    def unacked_count(self) -> int:
        """Deltas that the killed shard had stored, and no device had an ack for."""
        return self.kill.stored.deltas - self.kill.acked_count


class Scenario:
    """The replay, and what happens to the servers meanwhile."""

    def __init__(
        self,
        screen: Screen,
        fleet: DemoServers,
        households: Sequence[Household],
        acks: Mapping[int, AckLatencies],
        replay: Replay,
    ) -> None:
        self._screen = screen
        self._fleet = fleet
        self._households = households
        self._acks = acks
        self._replay = replay
        self._recent: deque[tuple[float, int]] = deque()

    async def run(self, folder: Path) -> ScenarioResult:
        """Replay every viewing."""
        replay, total = self._replay, len(self._replay)
        started = time.monotonic()
        async with self._show_progress():
            await replay.replay_until(round(FIRST_ROUND_AT * total))
            await asyncio.gather(
                self._run_round("as they watch"), replay.replay_until(round(PAUSE_AT * total))
            )
            counts_before_kill = await self._count_while_idle()
            await replay.replay_until(round(KILL_AT * total))
            killed = await self._kill_and_restart(folder)
            await replay.replay_until(round(SECOND_ROUND_AT * total))
            await asyncio.sleep(killed.restarted_at + RECONNECT_SECONDS - time.monotonic())
            await asyncio.gather(self._run_round("all are back"), replay.replay_until(total))
            await replay.flush()
        seconds, acked = time.monotonic() - started, replay.acked_count
        self._screen.print_line(f"All watched and all acked: {acked:,} deltas in {seconds:.1f} s")
        await self._run_round("the week is over")
        return ScenarioResult(seconds, acked, counts_before_kill, killed)

    @asynccontextmanager
    async def _show_progress(self) -> AsyncIterator[None]:
        """Show how far it is while the block runs."""
        async with AsyncExitStack() as stack:
            update = stack.enter_context(self._screen.show_progress("Watching", len(self._replay)))
            for shard in self._fleet.shards:
                await stack.enter_async_context(
                    run_in_background(shard.operator.poll_stats(_WATCH_SECONDS))
                )
            await stack.enter_async_context(
                run_in_background(update_progress_forever(update, self._read_progress))
            )
            yield

    async def _run_round(self, activity: str) -> None:
        round_ = await self._fleet.federation.run_round(activity)
        self._screen.print_line(f"{format_round(round_)}; {self._format_device_count()}")

    def _format_device_count(self) -> str:
        held = sum(bool(each.outbox.global_state.clusters) for each in self._households)
        return f"boxes with clusters so far: {held}"

    async def _count_while_idle(self) -> DeltaCounts:
        await self._replay.flush()
        unlucky = self._fleet.killed_shard
        stats = await unlucky.operator.read_stats()
        return DeltaCounts(stats.deltas_applied, self._replay.count_acked_by(unlucky.shard_id))

    async def _kill_and_restart(self, folder: Path) -> KillResult:
        """Kill a shard with deltas on their way, start it again while people go on watching."""
        replay, shard = self._replay, self._fleet.killed_shard.process
        shard_id, acks = shard.entry.shard_id, self._acks[self._fleet.killed_shard.shard_id]
        await self._replay_burst(shard_id, acks)
        waiting, killed_at = replay.unacked_count, time.monotonic()
        replay.is_shard_unreachable = True
        await shard.kill()
        dead_at = time.monotonic()
        self._screen.print_line(
            f"[bold red]SIGKILL[/]: {shard.region} is gone, {waiting} deltas wait for acks"
        )
        await self._run_round(f"{shard.region} is away")
        async with shard.store.read_copy(folder / "shard-when-killed") as reader:
            async with run_in_background(replay.replay_until(len(replay))):
                acked = replay.count_acked_by(shard_id)
                started_at = time.monotonic()
                await shard.start()
                restarted_at = time.monotonic()
                self._screen.print_line(
                    f"Started again, pid {shard.pid}, on the same port and data"
                )
                await acks.wait_for_next()
                seconds = time.monotonic() - started_at + dead_at - killed_at
            left = await read_store(reader)
        replay.is_shard_unreachable = False
        self._screen.print_line(
            f"[bold green]Recovered[/]: the next ack came {seconds:.2f} s after the kill; "
            f"{replay.unacked_count} deltas had gathered on the devices"
        )
        return KillResult(left, acked, seconds, restarted_at)

    async def _replay_burst(self, shard_id: int, acks: AckLatencies) -> None:
        """Watch much at once, until a shard has acked a little of it."""
        self._replay.replay_burst(min(BURST_VIEWINGS, len(self._replay) // 20))
        goal = self._replay.count_acked_by(shard_id) + BURST_ACKS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BURST_SECONDS):
                while self._replay.count_acked_by(shard_id) < goal:
                    await acks.wait_for_next()

    def _read_progress(self) -> tuple[int, str]:
        fleet, acks = self._fleet, self._acks.values()
        up = sum(shard.process.is_up for shard in fleet.shards)
        return self._replay.next_row, (
            f"{up} shards, {fleet.stream_count} streams, {fleet.pattern_count:,} patterns, "
            f"{self._measure_rate():,.0f} syncs a second, ack p50 {compute_percentile_ms(acks, 50):.1f} ms"
            f" p99 {compute_percentile_ms(acks, 99):.1f} ms"
        )

    def _measure_rate(self) -> float:
        """Return the acks a second since about a second ago."""
        now = time.monotonic()
        self._recent.append((now, sum(len(each.latencies) for each in self._acks.values())))
        while len(self._recent) > 2 and now - self._recent[1][0] >= _RATE_SECONDS:
            self._recent.popleft()
        before, count = self._recent[0]
        return (self._recent[-1][1] - count) / max(now - before, 0.1)


def format_round(round_: RequestedRound) -> str:
    """Return what became of a round, in words."""
    report, coverage = round_.report, round_.report.coverage
    heard = f"{coverage.shards_fresh} of {coverage.shards_total} shards heard"
    if report.state == pb.ROUND_STATE_NO_QUORUM:
        return (
            f"[bold]Round {report.round_id}[/] is not published: {heard}; boxes keep what they have"
        )
    return (
        f"[bold]Round {report.round_id}[/]: {heard}, {coverage.devices_fresh} boxes; "
        f"{report.cluster_count} clusters, {report.trend_count} trends, {round_.seconds:.2f} s"
    )


@asynccontextmanager
async def run_in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run something beside the block; it is cancelled when the block is left, its errors raised."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
