"""`constellation top`: what shards do now, again and again."""

from __future__ import annotations

import asyncio
import sys
import termios
import time
import tty
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.live import Live
from rich.markup import escape

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import DONE, FAILED
from constellation.cli.flags import add_flags
from constellation.cli.parsing import number_from
from constellation.cli.printing import (
    count,
    make_console,
    milliseconds,
    print_line,
    rate,
    size,
    to_json,
)
from constellation.cli.remote import several
from constellation.cli.tables import Table, number, words
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator, Iterator, Sequence

    from rich.console import Console

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_INTERVAL_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What one shard had measured at one time."""

    address: str
    at: float
    """On this machine's steady clock."""
    stats: shard_pb2.GetStatsResponse | None
    """None when it did not answer."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened between two samples of a shard, in a second."""

    deltas_per_second: float
    commits_per_second: float
    rejected_per_second: float


def add_top(commands: Commands) -> None:
    parser = commands.add(
        "top",
        run_top,
        "show what shards do now, again and again, until q",
        more="Rates are of the last interval. Without a terminal it prints once; with --json a "
        "line for each interval.",
        examples=("--all", "--interval 10", "--json --count 60 --interval 1 > minute.jsonl"),
    )
    parser.add_argument(
        "--interval",
        type=number_from(0.05, 3600),
        default=_INTERVAL_SECONDS,
        metavar="SECONDS",
        help="between two looks (default: %(default)g)",
    )
    parser.add_argument(
        "--count", type=number_from(1, 1e9, whole=True), metavar="N", help="end after so many"
    )
    add_flags(parser, several=True, fleet=True)


async def run_top(options: Namespace) -> int:
    """Show rates until told to stop; fails when the last look reached no shard at all."""
    watched = sys.stdout.isatty() and not options.json
    limit = options.count or (None if watched or options.json else 1)
    newest: Sequence[Sample] = ()
    console = make_console()
    async with several(options) as remotes:
        frames = _frames(remotes, options.interval, limit)
        if watched:
            newest = await _show(frames, console)
        else:
            async for before, newest in frames:
                if options.json:
                    print_line(_document(before, newest, options.interval))
                else:
                    console.print(_table(before, newest, console.width))
    return DONE if any(sample.stats for sample in newest) else FAILED


def rates_between(before: Sample, now: Sample) -> Rates | None:
    """Return what happened between two samples; None when the shard was away or started anew."""
    if before.stats is None or now.stats is None or now.at <= before.at:
        return None
    seconds = now.at - before.at
    deltas, commits, rejected = (
        (getattr(now.stats, name) - getattr(before.stats, name)) / seconds
        for name in ("deltas_applied", "commits", "patterns_rejected")
    )
    if min(deltas, commits, rejected) < 0:  # its counts begin anew with its process
        return None
    return Rates(deltas, commits, rejected)


async def _frames(
    remotes: Sequence[Remote], interval_seconds: float, limit: int | None
) -> AsyncIterator[tuple[Sequence[Sample], Sequence[Sample]]]:
    """Yield two successive samples of every shard, once each interval."""
    before = await _look(remotes)
    shown = 0
    while limit is None or shown < limit:
        await asyncio.sleep(interval_seconds)
        now = await _look(remotes)
        yield before, now
        before, shown = now, shown + 1


async def _look(remotes: Sequence[Remote]) -> Sequence[Sample]:
    return await asyncio.gather(*(_sample(remote) for remote in remotes))


async def _sample(remote: Remote) -> Sample:
    try:
        stats = await remote.ask(remote.shard.GetStats, shard_pb2.GetStatsRequest())
    except CommandError as error:
        return Sample(remote.address, time.monotonic(), None, str(error))
    return Sample(remote.address, time.monotonic(), stats)


async def _show(
    frames: AsyncIterator[tuple[Sequence[Sample], Sequence[Sample]]], console: Console
) -> Sequence[Sample]:
    """Show one frame in place of the other, until q or the last one."""
    newest: Sequence[Sample] = ()

    async def follow(live: Live) -> None:
        nonlocal newest
        async for before, newest in frames:
            live.update(_table(before, newest, live.console.width), refresh=True)

    with (
        Live("looking at the shards; q ends", console=console, auto_refresh=False) as live,
        _quit_key() as asked,
    ):
        following = asyncio.create_task(follow(live), name="follow")
        quitting = asyncio.create_task(asked.wait(), name="quit")
        done, waiting = await asyncio.wait(
            (following, quitting), return_when=asyncio.FIRST_COMPLETED
        )
        for task in waiting:
            task.cancel()
        for task in done:
            task.result()
    return newest


@contextmanager
def _quit_key() -> Iterator[asyncio.Event]:
    """Yield what is set once somebody presses q; keys are not shown meanwhile."""
    asked = asyncio.Event()
    if not sys.stdin.isatty():
        yield asked
        return
    loop, keys = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(keys)

    def pressed() -> None:
        if sys.stdin.read(1) in {"q", "Q", ""}:
            asked.set()

    tty.setcbreak(keys)
    loop.add_reader(keys, pressed)
    try:
        yield asked
    finally:
        loop.remove_reader(keys)
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


def _table(before: Sequence[Sample], now: Sequence[Sample], width: int) -> Group:
    columns = (
        words("shard"),
        number("devices"),
        number("active", is_spare=True),
        number("streams"),
        number("patterns"),
        number("deltas/s"),
        number("commits/s", is_spare=True),
        number("rejected/s", is_spare=True),
        number("mean", is_spare=True),
        number("p99"),
        number("memory", is_spare=True),
        number("round", is_spare=True),
    )
    table = Table(columns)
    for earlier, sample in zip(before, now, strict=True):
        if sample.stats is None:
            table.add(sample.address, "[red]no answer[/]")
            continue
        table.add(sample.address, *_cells(earlier, sample, sample.stats))
    problems = dict.fromkeys(sample.problem for sample in now if sample.problem)
    told = (f"[red]{escape(problem)}[/]" for problem in problems)
    return Group(table.fitted(width), *told, f"[dim]{datetime.now(UTC):%H:%M:%S} UTC[/]")


def _cells(before: Sample, now: Sample, stats: shard_pb2.GetStatsResponse) -> Sequence[str]:
    rates = rates_between(before, now)
    happened = [rate(each) for each in asdict(rates).values()] if rates else [""] * 3
    timed = stats.HasField("sync_latency_mean_seconds")
    return (
        count(stats.total_devices),
        count(stats.active_devices),
        count(stats.streams),
        count(stats.patterns),
        *happened,
        milliseconds(stats.sync_latency_mean_seconds) if timed else "",
        milliseconds(stats.sync_latency_p99_seconds) if timed else "",
        size(stats.resident_bytes),
        str(stats.round_id or ""),
    )


def _document(
    before: Sequence[Sample], now: Sequence[Sample], interval_seconds: float
) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "interval_seconds": interval_seconds,
        "shards": [_shard(earlier, sample) for earlier, sample in zip(before, now, strict=True)],
    }


def _shard(before: Sample, now: Sample) -> dict[str, Any]:
    if now.stats is None:
        return {"address": now.address, "problem": now.problem}
    rates = rates_between(before, now)
    return {
        "address": now.address,
        "stats": to_json(now.stats),
        "rates": asdict(rates) if rates else None,
    }
