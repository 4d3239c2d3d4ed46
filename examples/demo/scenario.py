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
from examples.demo.households import percentile_ms
from examples.demo.screen import keep_telling
from examples.demo.store_state import Counted, Stored, read_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
    from pathlib import Path

    from examples.demo.federation_process import Asked
    from examples.demo.households import Acks, Household, Replay
    from examples.demo.screen import Screen
    from examples.demo.servers import Fleet

FIRST_ROUND_AT: Final = 0.35
"""Share of the viewings; more are watched meanwhile."""
QUIET_AT: Final = 0.45
"""Then all is acked once, and the counters of the shard that will be killed are read."""
KILL_AT: Final = 0.5
SECOND_ROUND_AT: Final = 0.65
BURST: Final = 400
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
class Killed:
    """What a killed process left, and how it went on."""

    left: Stored
    acked: int
    """Deltas that its devices had acks for."""
    recovery_seconds: float
    """From SIGKILL to the next ack, without the round that was asked for in between."""
    back_at: float
    """When the next process served; of the monotonic clock."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What was measured while the devices replayed."""

    seconds: float
    acked: int
    quiet: Counted
    """The first process of the killed shard, in the quiet moment before."""
    killed: Killed

    @property
    def unacked(self) -> int:
        """Deltas that the killed shard had stored, and no device had an ack for."""
        return self.killed.left.deltas - self.killed.acked


class Watching:
    """The replay, and what happens to the servers meanwhile."""

    def __init__(
        self,
        screen: Screen,
        fleet: Fleet,
        households: Sequence[Household],
        acks: Mapping[int, Acks],
        replay: Replay,
    ) -> None:
        self._screen = screen
        self._fleet = fleet
        self._households = households
        self._acks = acks
        self._replay = replay
        self._recent: deque[tuple[float, int]] = deque()

    async def run(self, folder: Path) -> Watched:
        """Replay every viewing."""
        replay, total = self._replay, len(self._replay)
        started = time.monotonic()
        async with self._told():
            await replay.until(round(FIRST_ROUND_AT * total))
            await asyncio.gather(
                self._round("as they watch"), replay.until(round(QUIET_AT * total))
            )
            quiet = await self._quiet()
            await replay.until(round(KILL_AT * total))
            killed = await self._kill(folder)
            await replay.until(round(SECOND_ROUND_AT * total))
            await asyncio.sleep(killed.back_at + RECONNECT_SECONDS - time.monotonic())
            await asyncio.gather(self._round("all are back"), replay.until(total))
            await replay.flush()
        seconds, acked = time.monotonic() - started, replay.acked
        self._screen.say(f"All watched and all acked: {acked:,} deltas in {seconds:.1f} s")
        await self._round("the week is over")
        return Watched(seconds, acked, quiet, killed)

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Show how far it is while the block runs."""
        async with AsyncExitStack() as stack:
            tell = stack.enter_context(self._screen.bar("Watching", len(self._replay)))
            for shard in self._fleet.shards:
                await stack.enter_async_context(running(shard.operator.watch(_WATCH_SECONDS)))
            await stack.enter_async_context(running(keep_telling(tell, self._progress)))
            yield

    async def _round(self, during: str) -> None:
        asked = await self._fleet.federation.run_round(during)
        self._screen.say(f"{round_line(asked)}; {self._boxes()}")

    def _boxes(self) -> str:
        held = sum(bool(each.outbox.global_state.clusters) for each in self._households)
        return f"boxes with clusters so far: {held}"

    async def _quiet(self) -> Counted:
        await self._replay.flush()
        unlucky = self._fleet.unlucky
        stats = await unlucky.operator.measure()
        return Counted(stats.deltas_applied, self._replay.acked_by(unlucky.shard_id))

    async def _kill(self, folder: Path) -> Killed:
        """Kill a shard with deltas on their way, start it again while people go on watching."""
        replay, shard = self._replay, self._fleet.unlucky.process
        shard_id, acks = shard.place.shard_id, self._acks[self._fleet.unlucky.shard_id]
        await self._burst(shard_id, acks)
        waiting, killed_at = replay.waiting, time.monotonic()
        replay.away = True
        await shard.kill()
        dead_at = time.monotonic()
        self._screen.say(
            f"[bold red]SIGKILL[/]: {shard.region} is gone, {waiting} deltas wait for acks"
        )
        await self._round(f"{shard.region} is away")
        async with shard.store.frozen(folder / "shard-when-killed") as reader:
            async with running(replay.until(len(replay))):
                acked = replay.acked_by(shard_id)
                started_at = time.monotonic()
                await shard.start()
                back_at = time.monotonic()
                self._screen.say(f"Started again, pid {shard.pid}, on the same port and data")
                await acks.next()
                seconds = time.monotonic() - started_at + dead_at - killed_at
            left = await read_store(reader)
        replay.away = False
        self._screen.say(
            f"[bold green]Recovered[/]: the next ack came {seconds:.2f} s after the kill; "
            f"{replay.waiting} deltas had gathered on the devices"
        )
        return Killed(left, acked, seconds, back_at)

    async def _burst(self, shard_id: int, acks: Acks) -> None:
        """Watch much at once, until a shard has acked a little of it."""
        self._replay.burst(min(BURST, len(self._replay) // 20))
        goal = self._replay.acked_by(shard_id) + BURST_ACKS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BURST_SECONDS):
                while self._replay.acked_by(shard_id) < goal:
                    await acks.next()

    def _progress(self) -> tuple[int, str]:
        fleet, acks = self._fleet, self._acks.values()
        up = sum(shard.process.up for shard in fleet.shards)
        return self._replay.row, (
            f"{up} shards, {fleet.streams} streams, {fleet.patterns:,} patterns, "
            f"{self._rate():,.0f} syncs a second, ack p50 {percentile_ms(acks, 50):.1f} ms"
            f" p99 {percentile_ms(acks, 99):.1f} ms"
        )

    def _rate(self) -> float:
        """Return the acks a second since about a second ago."""
        now = time.monotonic()
        self._recent.append((now, sum(len(each.latencies) for each in self._acks.values())))
        while len(self._recent) > 2 and now - self._recent[1][0] >= _RATE_SECONDS:
            self._recent.popleft()
        before, count = self._recent[0]
        return (self._recent[-1][1] - count) / max(now - before, 0.1)


def round_line(asked: Asked) -> str:
    """Return what became of a round, in words."""
    told, coverage = asked.told, asked.told.coverage
    heard = f"{coverage.shards_heard} of {coverage.shards_known} shards heard"
    if told.state == pb.ROUND_STATE_NO_QUORUM:
        return (
            f"[bold]Round {told.round_id}[/] is not published: {heard}; boxes keep what they have"
        )
    return (
        f"[bold]Round {told.round_id}[/]: {heard}, {coverage.devices_heard} boxes; "
        f"{told.cluster_count} clusters, {told.trend_count} trends, {asked.seconds:.2f} s"
    )


@asynccontextmanager
async def running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run something beside the block; it is cancelled when the block is left, its errors raised."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
