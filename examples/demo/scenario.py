"""The scenario: a week of viewings, with rounds of the federation, and one shard killed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.v1 import federation_pb2 as pb
from examples.demo.households import compute_median_ms
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
"""Share of the viewings before the first round. More are replayed while it runs."""
PAUSE_AT: Final = 0.45
"""Share before a pause, in which everything is acked and the counters are read."""
KILL_AT: Final = 0.5
"""Share before one shard is killed."""
SECOND_ROUND_AT: Final = 0.65
"""Share before the first round after the restart."""
BURST_VIEWINGS: Final = 400
"""Viewings replayed at once, right before the kill."""
BURST_ACKS: Final = 1
"""Acks of these viewings before the kill. Other deltas are then stored only, or on their way."""
BURST_SECONDS: Final = 0.5
"""How long the kill waits for these acks."""
RECONNECT_SECONDS: Final = 3.0
"""A federation that could not reach a shard tries again within this time."""
_WATCH_SECONDS: Final = 0.5
_RATE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class KillResult:
    """What a killed process left, and how its shard recovered."""

    stored: StoreState
    """What the store had at the kill."""
    acked_count: int
    """Deltas of the shard that its devices had acks for."""
    recovery_seconds: float
    """From SIGKILL to the next ack, without the round in between."""
    restarted_at: float
    """When the next process served, on the monotonic clock."""


@dataclass(frozen=True, slots=True, eq=False)
class ScenarioResult:
    """What was measured during the replay."""

    seconds: float
    """Duration of the replay."""
    acked_count: int
    """Deltas that were acked."""
    counts_before_kill: DeltaCounts
    """Counts of the first process of the killed shard, in the pause before the kill."""
    kill: KillResult

    @property
    def unacked_count(self) -> int:
        """Deltas that the killed shard had stored and no device had an ack for."""
        return self.kill.stored.deltas - self.kill.acked_count


class Scenario:
    """Replays all viewings, runs rounds, and kills one shard meanwhile."""

    def __init__(
        self,
        screen: Screen,
        servers: DemoServers,
        households: Sequence[Household],
        acks: Mapping[int, AckLatencies],
        replay: Replay,
    ) -> None:
        self._screen = screen
        self._servers = servers
        self._households = households
        self._acks = acks
        self._replay = replay
        self._recent: deque[tuple[float, int]] = deque()

    async def run(self, folder: Path) -> ScenarioResult:
        """Run the whole scenario."""
        replay, total = self._replay, len(self._replay)
        started = time.monotonic()
        async with self._show_progress():
            await replay.replay_until(round(FIRST_ROUND_AT * total))
            await asyncio.gather(
                self._run_round("while they watch"), replay.replay_until(round(PAUSE_AT * total))
            )
            counts_before_kill = await self._count_while_idle()
            await replay.replay_until(round(KILL_AT * total))
            killed = await self._kill_and_restart(folder)
            await replay.replay_until(round(SECOND_ROUND_AT * total))
            await asyncio.sleep(killed.restarted_at + RECONNECT_SECONDS - time.monotonic())
            await asyncio.gather(self._run_round("both are back"), replay.replay_until(total))
            await replay.flush()
        seconds, acked = time.monotonic() - started, replay.acked_count
        self._screen.print_line(
            f"Everything is watched and acked: {acked:,} deltas in {seconds:.1f} s"
        )
        await self._run_round("the week is over")
        return ScenarioResult(seconds, acked, counts_before_kill, killed)

    @asynccontextmanager
    async def _show_progress(self) -> AsyncIterator[None]:
        """Show progress while the block runs."""
        async with AsyncExitStack() as stack:
            update = stack.enter_context(self._screen.show_progress("Watching", len(self._replay)))
            for shard in self._servers.shards:
                await stack.enter_async_context(
                    run_in_background(shard.operator.poll_stats(_WATCH_SECONDS))
                )
            await stack.enter_async_context(
                run_in_background(update_progress_forever(update, self._read_progress))
            )
            yield

    async def _run_round(self, activity: str) -> None:
        round_ = await self._servers.federation.run_round(activity)
        self._screen.print_line(f"{format_round(round_)}; {self._format_device_count()}")

    def _format_device_count(self) -> str:
        count = sum(bool(each.outbox.global_state.clusters) for each in self._households)
        return f"{count} devices have clusters so far"

    async def _count_while_idle(self) -> DeltaCounts:
        await self._replay.flush()
        shard = self._servers.killed_shard
        stats = await shard.operator.read_stats()
        return DeltaCounts(stats.deltas_applied, self._replay.count_acked_by(shard.shard_id))

    async def _kill_and_restart(self, folder: Path) -> KillResult:
        """Kill a shard with deltas on their way, and restart it while people keep watching."""
        replay, shard = self._replay, self._servers.killed_shard.process
        shard_id, acks = shard.entry.shard_id, self._acks[self._servers.killed_shard.shard_id]
        await self._replay_burst(shard_id, acks)
        waiting, killed_at = replay.unacked_count, time.monotonic()
        with replay.during_outage():
            await shard.kill()
            dead_at = time.monotonic()
            self._screen.print_line(
                f"[bold red]SIGKILL[/]: {shard.region} is unavailable, "
                f"{waiting} deltas wait for acks"
            )
            await self._run_round(f"{shard.region} unavailable")
            async with shard.store.read_copy(folder / "shard-when-killed") as reader:
                async with run_in_background(replay.replay_until(len(replay))):
                    acked = replay.count_acked_by(shard_id)
                    started_at = time.monotonic()
                    await shard.start()
                    restarted_at = time.monotonic()
                    self._screen.print_line(
                        f"Restarted as process {shard.pid}, with the same port and data"
                    )
                    await acks.wait_for_next()
                    seconds = time.monotonic() - started_at + dead_at - killed_at
                left = await read_store(reader)
        self._screen.print_line(
            f"[bold green]Recovered[/]: the next ack came {seconds:.2f} s after the kill; "
            f"{replay.unacked_count} deltas wait for acks"
        )
        return KillResult(left, acked, seconds, restarted_at)

    async def _replay_burst(self, shard_id: int, acks: AckLatencies) -> None:
        """Replay many viewings at once, and wait until a shard has acked a few of them."""
        self._replay.replay_burst(min(BURST_VIEWINGS, len(self._replay) // 20))
        goal = self._replay.count_acked_by(shard_id) + BURST_ACKS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BURST_SECONDS):
                while self._replay.count_acked_by(shard_id) < goal:
                    await acks.wait_for_next()

    def _read_progress(self) -> tuple[int, str]:
        servers, acks = self._servers, self._acks.values()
        up = sum(shard.process.is_up for shard in servers.shards)
        return self._replay.next_row, (
            f"{up} shards, {servers.stream_count} streams, {servers.pattern_count:,} patterns, "
            f"{self._measure_rate():,.0f} syncs/s, ack p50 {compute_median_ms(acks):.1f} ms"
        )

    def _measure_rate(self) -> float:
        """Return the acks per second over about the last second."""
        now = time.monotonic()
        self._recent.append((now, sum(len(each.latencies) for each in self._acks.values())))
        while len(self._recent) > 2 and now - self._recent[1][0] >= _RATE_SECONDS:
            self._recent.popleft()
        before, count = self._recent[0]
        return (self._recent[-1][1] - count) / max(now - before, 0.1)


def format_round(round_: RequestedRound) -> str:
    """Return one line about the result of a round."""
    report, coverage = round_.report, round_.report.coverage
    answered = f"{coverage.shards_fresh} of {coverage.shards_total} shards answered"
    if report.state == pb.ROUND_STATE_NO_QUORUM:
        return (
            f"[bold]Round {report.round_id}[/] is not published: {answered}; "
            "devices keep what they have"
        )
    return (
        f"[bold]Round {report.round_id}[/]: {answered}, {coverage.devices_fresh} devices; "
        f"{report.cluster_count} clusters, {report.trend_count} trends, {round_.seconds:.2f} s"
    )


@asynccontextmanager
async def run_in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run some work while the block runs, then cancel it; raise its errors when the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
