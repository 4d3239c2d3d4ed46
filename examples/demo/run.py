"""One run of the demo, from an empty folder to a verdict."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections import Counter, deque
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from examples.demo.catalogue import load_catalogue
from examples.demo.households import Replay, hold_out, open_households, settop_catalogue
from examples.demo.operator import Operator
from examples.demo.report import Printer, Report, check_lines, share, trend_lines, write
from examples.demo.screen import keep_telling
from examples.demo.shard_process import LOWERED, DemoError, ShardProcess
from examples.demo.stores import demo_store
from examples.demo.taste import choose, hit_rate_of_popular, tell_stories, top_trends
from examples.demo.verify import (
    SECONDS_PER_HOUR,
    WINDOW_HOURS,
    Check,
    Counted,
    judge,
    read_store,
    signals_of,
    since,
)
from examples.demo.viewings import last_week, load_viewings, select

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from constellation_settop import Catalogue
    from examples.demo.catalogue import FilmCatalogue
    from examples.demo.households import Acks, Household
    from examples.demo.screen import Screen
    from examples.demo.taste import Story
    from examples.demo.verify import Stored, Verdict
    from examples.demo.viewings import Viewings

QUIET_AT: Final = 0.45
"""Share of the viewings after which all is acked once, and the shard's counter is read."""
KILL_AT: Final = 0.5
BURST: Final = 400
"""Viewings at once, right before the kill ..."""
BURST_ACKS: Final = 4
"""... which comes with so many acks: other deltas are stored but not acked, others on their way."""
BURST_SECONDS: Final = 0.5
"""The kill waits no longer for them."""
TRENDS_SHOWN: Final = 10
LIMIT_SECONDS: Final = 180.0
_SETTLE_SECONDS: Final = 20.0
_QUIET_SECONDS: Final = 1.2 * float(LOWERED["GLOBAL_MIN_INTERVAL_SECONDS"])
_WATCH_SECONDS: Final = 0.5
_RATE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is watched, and by whom."""

    films: FilmCatalogue
    catalogue: Catalogue
    watched: Viewings
    """What the devices replay."""
    times: NDArray[np.int64]
    """When each of `watched` happens in the replay: Unix seconds."""
    held_out: Viewings
    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Killed:
    """What a killed process left, and how it went on."""

    left: Stored
    acked: int
    """Deltas that devices had acks for."""
    recovery_seconds: float
    """From SIGKILL to the next ack."""


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What was measured while the devices replayed."""

    seconds: float
    acked: int
    quiet: Counted
    """The first process, in the quiet moment before it was killed."""
    killed_at_deltas: int
    """Different deltas in the store that the killed process left."""
    unacked: int
    """Of these, what no device had an ack for."""
    problems: Sequence[str]
    """What was wrong with that store."""
    recovery_seconds: float


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
        store = stack.enter_context(demo_store(store_kind, folder))
        shard = await stack.enter_async_context(ShardProcess.open(folder, store))
        lowered = ", ".join(f"{name}={value}" for name, value in LOWERED.items())
        screen.say(
            f"One shard on {store.kind}, pid {shard.pid}, {shard.address}. Lowered: {lowered}"
        )
        operator = await stack.enter_async_context(Operator.open(shard.address))
        await _load(screen, operator, material.films)
        opening = open_households(
            material.held_out, material.numbers, shard.address, folder, material.catalogue
        )
        devices, acks = await stack.enter_async_context(opening)
        demo = Demo(screen, shard, operator, material, devices, acks)
        return await demo.run(folder, into / "demo-report.json")


def prepare(households: int) -> Material:
    films = load_catalogue()
    try:
        viewings = select(load_viewings(films.films), households=households)
    except ValueError as error:
        raise DemoError(str(error)) from error
    held = hold_out(viewings)
    times = last_week(viewings, time.time()).astype(np.int64)
    numbers: list[int] = np.unique(viewings.households).tolist()
    return Material(
        films=films,
        catalogue=settop_catalogue(films),
        watched=viewings.where(~held),
        times=times[~held],
        held_out=viewings.where(held),
        numbers=numbers,
    )


async def _load(screen: Screen, operator: Operator, films: FilmCatalogue) -> None:
    started = time.monotonic()
    with screen.bar("Loading films", len(films.films)) as tell:
        added = await operator.load(films, lambda done: tell(done, ""))
    seconds = time.monotonic() - started
    screen.say(f"{added:,} films in the shard's catalogue, added in {seconds:.1f} s")


class Demo:
    """A shard, its devices, and what happens to them."""

    def __init__(
        self,
        screen: Screen,
        shard: ShardProcess,
        operator: Operator,
        material: Material,
        households: Sequence[Household],
        acks: Acks,
    ) -> None:
        self._screen = screen
        self._shard = shard
        self._operator = operator
        self._material = material
        self._households = households
        self._acks = acks
        self._recent: deque[tuple[float, int]] = deque()
        self._replay = Replay(households, material.watched, material.times)

    async def run(self, folder: Path, report_file: Path) -> bool:
        replayed = await self._watch_it_all(folder)
        await self._settle()
        stats = await self._operator.measure()
        stories = await tell_stories(self._material.catalogue, self._households)
        self._screen.say(f"Every one of {len(stories)} households asked for films, twice")
        trends = top_trends(choose(stories).household, TRENDS_SHOWN)
        verdict = await self._judge(replayed, stats.deltas_applied)
        report = Report(
            devices=len(self._households),
            viewings=len(self._material.watched),
            deltas_acked=verdict.acked,
            deltas_lost=verdict.lost,
            deltas_applied_twice=verdict.twice,
            patterns_stored=verdict.patterns,
            syncs_per_second=round(replayed.acked / replayed.seconds, 1),
            ack_p50_ms=round(self._acks.percentile_ms(50), 2),
            ack_p99_ms=round(self._acks.percentile_ms(99), 2),
            shard_latency_mean_ms=round(stats.sync_latency_mean_seconds * 1e3, 2),
            kills=self._shard.kills,
            deltas_stored_unacked=replayed.unacked,
            recovery_seconds=round(replayed.recovery_seconds, 3),
            shard_recovery_seconds=round(stats.recovery_seconds, 3),
            households_judged=len(stories),
            hit_rate_before=share(stories, (story.hits_before for story in stories)),
            hit_rate_popular=hit_rate_of_popular(self._material.watched, self._material.held_out),
            hit_rate_after=share(stories, (story.hits_after for story in stories)),
            trends=trend_lines(self._material.catalogue, trends),
            checks=check_lines(verdict),
            seconds=round(self._screen.seconds, 1),
        )
        write(report, report_file)
        self._print(report, stories, verdict)
        return verdict.holds

    async def _watch_it_all(self, folder: Path) -> Replayed:
        """Replay every viewing; kill the shard on the way, and start it again."""
        replay, total = self._replay, len(self._replay)
        started = time.monotonic()
        with self._screen.bar("Watching", total) as tell:
            async with (
                running(self._operator.watch(_WATCH_SECONDS)),
                running(keep_telling(tell, self._progress)),
            ):
                await replay.until(round(QUIET_AT * total))
                await replay.flush()
                stats = await self._operator.measure()
                quiet = Counted(stats.deltas_applied, replay.acked)
                await replay.until(round(KILL_AT * total))
                killed = await self._kill(folder)
                await replay.until(total)
                await replay.flush()
        seconds, acked = time.monotonic() - started, replay.acked
        self._screen.say(f"All watched and all acked: {acked:,} deltas in {seconds:.1f} s")
        left = killed.left
        return Replayed(
            seconds,
            acked,
            quiet,
            killed_at_deltas=left.deltas,
            unacked=left.deltas - killed.acked,
            problems=left.problems,
            recovery_seconds=killed.recovery_seconds,
        )

    async def _kill(self, folder: Path) -> Killed:
        """Kill the shard with deltas on their way, start it again while people go on watching."""
        replay = self._replay
        replay.burst(min(BURST, len(replay) // 20))
        goal = replay.acked + BURST_ACKS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BURST_SECONDS):
                while replay.acked < goal:
                    await self._acks.next()
        waiting, killed_at = replay.waiting, time.monotonic()
        replay.away = True
        await self._shard.kill()
        self._screen.say(f"[bold red]SIGKILL[/]: the shard is gone, {waiting} deltas wait for acks")
        async with self._shard.store.frozen(folder / "shard-when-killed") as reader:
            async with running(replay.until(len(replay))):
                acked = replay.acked
                await self._shard.start()
                self._screen.say(f"Started again, pid {self._shard.pid}, on the same port and data")
                await self._acks.next()
                seconds = time.monotonic() - killed_at
            left = await read_store(reader)
        replay.away = False
        self._screen.say(
            f"[bold green]Recovered[/]: the next ack came {seconds:.2f} s after the kill; "
            f"{replay.waiting} deltas had gathered on the devices"
        )
        return Killed(left, acked, seconds)

    async def _settle(self) -> None:
        """Wait until the devices hold the shard's last global state, and updates have ceased."""
        started = quiet_since = time.monotonic()
        seen = -1
        while (now := time.monotonic()) - started < _SETTLE_SECONDS:
            updates = sum(each.device.sync.updates_applied for each in self._households)
            if updates != seen:
                seen, quiet_since = updates, now
            if now - quiet_since > _QUIET_SECONDS:
                break
            await asyncio.sleep(0.1)
        held = Counter(each.outbox.global_state.version for each in self._households)
        _, most = held.most_common(1)[0]
        self._screen.say(
            f"{most} of {len(self._households)} devices hold the same global state, after "
            f"{seen:,} updates; nothing new came for {now - quiet_since:.0f} s"
        )

    async def _judge(self, replayed: Replayed, applied: int) -> Verdict:
        """Stop the shard, and compare its files with the devices' journals."""
        status = await self._shard.stop()
        check_status, answer = await self._shard.check()
        async with self._shard.store.read() as reader:
            stored = await read_store(reader)
        self._screen.say("The shard has drained; its store is compared with the devices' journals")
        oldest_hour = int(time.time()) // SECONDS_PER_HOUR - WINDOW_HOURS + 1
        expected = signals_of(self._material.watched, self._material.times)
        verdict = judge(
            self._households,
            stored,
            (replayed.quiet, Counted(applied, stored.deltas - replayed.killed_at_deltas)),
            since(expected, oldest_hour),
            since(stored.signals, oldest_hour),
        )
        problems = "; ".join(replayed.problems)
        more = (
            Check("what the killed shard left was sound", not problems, problems or "yes"),
            Check("`constellation serve` drained on SIGTERM", status == 0, f"exit {status}"),
            Check("`constellation check`", check_status == 0, f"exit {check_status}: {answer}"),
        )
        return verdict.with_checks(more)

    def _progress(self) -> tuple[int, str]:
        stats, acks = self._operator.stats, self._acks
        streams = "no shard" if not self._shard.up else f"{stats.streams} streams"
        return self._replay.row, (
            f"{streams}, {stats.patterns:,} patterns, {self._rate():,.0f} syncs a second,"
            f" ack p50 {acks.percentile_ms(50):.1f} ms p99 {acks.percentile_ms(99):.1f} ms"
        )

    def _rate(self) -> float:
        """Return the acks a second since about a second ago."""
        now = time.monotonic()
        self._recent.append((now, len(self._acks.latencies)))
        while len(self._recent) > 2 and now - self._recent[1][0] >= _RATE_SECONDS:
            self._recent.popleft()
        before, count = self._recent[0]
        return (self._recent[-1][1] - count) / max(now - before, 0.1)

    def _print(self, report: Report, stories: Sequence[Story], verdict: Verdict) -> None:
        console = self._screen.console
        printer = Printer(console, self._material.catalogue)
        console.print()
        printer.trends(report.trends)
        printer.story(choose(stories))
        printer.judged(stories, report)
        printer.verdict(verdict)
        printer.figures(report)


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
