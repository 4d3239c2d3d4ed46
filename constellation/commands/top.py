"""`constellation top`: show live statistics of shards."""

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

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import (
    format_count,
    format_milliseconds,
    format_rate,
    format_size,
    make_console,
    print_json_line,
    to_json,
)
from constellation.cli.remote import open_remotes
from constellation.cli.tables import PrintedTable, number_column, text_column
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator, Iterator, Sequence

    from rich.console import Console

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_DEFAULT_INTERVAL_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class StatsSample:
    """The statistics of one shard at one time."""

    address: str
    taken_at: float
    """Seconds on this machine's monotonic clock."""
    stats: shard_pb2.GetStatsResponse | None
    """None when the call failed."""
    error: str = ""
    """Why the call failed; empty when it succeeded."""
    is_reachable: bool = True
    """False when no connection was made."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Events per second of one shard, between two samples. The field names are JSON keys."""

    deltas_per_second: float
    commits_per_second: float
    rejected_per_second: float


def add_top(commands: Commands) -> None:
    parser = commands.add(
        "top",
        run_top,
        "show live statistics of shards; q quits",
        details="Rates cover the last interval. Without a terminal it prints once; with --json it "
        "prints one line per interval until it is stopped.",
        examples=("--all", "--interval 10", "--json --count 60 --interval 1 > minute.jsonl"),
    )
    parser.add_argument(
        "--interval",
        type=make_number_parser(0.05, 3600),
        default=_DEFAULT_INTERVAL_SECONDS,
        metavar="SECONDS",
        help="time between updates (default: %(default)g)",
    )
    parser.add_argument(
        "--count",
        type=make_number_parser(1, 1e9, is_integer=True),
        metavar="N",
        help="stop after N updates",
    )
    add_connection_flags(
        parser,
        several=True,
        fleet=True,
        json_help="print one JSON document per update, each on one line, instead of a table",
    )


async def run_top(options: Namespace) -> int:
    """Show statistics until q or --count; fail when the last update reached no shard."""
    is_live = sys.stdout.isatty() and not options.json
    limit = options.count or (None if is_live or options.json else 1)
    newest: Sequence[StatsSample] = ()
    console = make_console()
    async with open_remotes(options) as remotes:
        frames = _take_samples(remotes, options.interval, limit)
        if is_live:
            newest = await _show_live(frames, console)
        else:
            async for before, newest in frames:
                if options.json:
                    print_json_line(_to_document(before, newest, options.interval))
                else:
                    console.print(_make_table(before, newest, console.width))
    return SUCCESS if any(sample.stats for sample in newest) else FAILURE


def compute_rates(before: StatsSample, now: StatsSample) -> Rates | None:
    """Return the rates between two samples of a shard.

    Return None when a sample has no statistics, and when the shard restarted in between.
    """
    if before.stats is None or now.stats is None or now.taken_at <= before.taken_at:
        return None
    seconds = now.taken_at - before.taken_at
    deltas, commits, rejected = (
        (getattr(now.stats, name) - getattr(before.stats, name)) / seconds
        for name in ("deltas_applied", "commits", "patterns_rejected")
    )
    if min(deltas, commits, rejected) < 0:  # a restarted process counts from 0 again
        return None
    return Rates(deltas, commits, rejected)


async def _take_samples(
    remotes: Sequence[Remote], interval_seconds: float, limit: int | None
) -> AsyncIterator[tuple[Sequence[StatsSample], Sequence[StatsSample]]]:
    """Yield the previous and the newest samples of every shard, once per interval."""
    before = await _sample_shards(remotes)
    count = 0
    while limit is None or count < limit:
        await asyncio.sleep(interval_seconds)
        now = await _sample_shards(remotes)
        yield before, now
        before, count = now, count + 1


async def _sample_shards(remotes: Sequence[Remote]) -> Sequence[StatsSample]:
    return await asyncio.gather(*(_sample_shard(remote) for remote in remotes))


async def _sample_shard(remote: Remote) -> StatsSample:
    try:
        stats = await remote.call(remote.shard.GetStats, shard_pb2.GetStatsRequest())
    except CommandError as error:
        return StatsSample(
            remote.address, time.monotonic(), None, str(error), not error.is_connection_error
        )
    return StatsSample(remote.address, time.monotonic(), stats)


async def _show_live(
    frames: AsyncIterator[tuple[Sequence[StatsSample], Sequence[StatsSample]]], console: Console
) -> Sequence[StatsSample]:
    """Show each frame in place of the one before, until q or the last; return the last samples."""
    newest: Sequence[StatsSample] = ()

    async def update_table(live: Live) -> None:
        nonlocal newest
        async for before, newest in frames:
            live.update(_make_table(before, newest, live.console.width), refresh=True)

    with (
        Live("connecting to the shards; q quits", console=console, auto_refresh=False) as live,
        _watch_quit_key() as quit_requested,
    ):
        update_task = asyncio.create_task(update_table(live), name="update_table")
        quit_task = asyncio.create_task(quit_requested.wait(), name="quit")
        done, pending = await asyncio.wait(
            (update_task, quit_task), return_when=asyncio.FIRST_COMPLETED
        )
        for task in pending:
            task.cancel()
        for task in done:
            task.result()
    return newest


@contextmanager
def _watch_quit_key() -> Iterator[asyncio.Event]:
    """Yield an event that is set when somebody presses q; keys are not echoed meanwhile."""
    quit_requested = asyncio.Event()
    if not sys.stdin.isatty():
        yield quit_requested
        return
    loop, stdin = asyncio.get_running_loop(), sys.stdin.fileno()
    saved_mode = termios.tcgetattr(stdin)

    def read_key() -> None:
        if sys.stdin.read(1) in {"q", "Q", ""}:
            quit_requested.set()

    tty.setcbreak(stdin)
    loop.add_reader(stdin, read_key)
    try:
        yield quit_requested
    finally:
        loop.remove_reader(stdin)
        termios.tcsetattr(stdin, termios.TCSADRAIN, saved_mode)


def _make_table(before: Sequence[StatsSample], now: Sequence[StatsSample], width: int) -> Group:
    columns = (
        text_column("address"),
        number_column("devices"),
        number_column("active", is_optional=True),
        number_column("streams"),
        number_column("patterns"),
        number_column("deltas/s"),
        number_column("commits/s", is_optional=True),
        number_column("rejected/s", is_optional=True),
        number_column("mean latency", is_optional=True),
        number_column("p99 latency"),
        number_column("memory", is_optional=True),
        number_column("round", is_optional=True),
    )
    table = PrintedTable(columns)
    for earlier, sample in zip(before, now, strict=True):
        if sample.stats is None:
            problem = "[yellow]not ready[/]" if sample.is_reachable else "[red]unreachable[/]"
            table.add_row(escape(sample.address), problem)
            continue
        table.add_row(escape(sample.address), *_format_cells(earlier, sample, sample.stats))
    errors = dict.fromkeys(sample.error for sample in now if sample.error)
    messages = (f"[red]{escape(error)}[/]" for error in errors)
    return Group(table.fit_to_width(width), *messages, f"[dim]{datetime.now(UTC):%H:%M:%S} UTC[/]")


def _format_cells(
    before: StatsSample, now: StatsSample, stats: shard_pb2.GetStatsResponse
) -> Sequence[str]:
    rates = compute_rates(before, now)
    rate_cells = [format_rate(each) for each in asdict(rates).values()] if rates else [""] * 3
    has_latency = stats.HasField("sync_latency_mean_seconds")
    return (
        format_count(stats.total_devices),
        format_count(stats.active_devices),
        format_count(stats.streams),
        format_count(stats.patterns),
        *rate_cells,
        format_milliseconds(stats.sync_latency_mean_seconds) if has_latency else "",
        format_milliseconds(stats.sync_latency_p99_seconds) if has_latency else "",
        format_size(stats.resident_bytes),
        str(stats.round_id or ""),
    )


def _to_document(
    before: Sequence[StatsSample], now: Sequence[StatsSample], interval_seconds: float
) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "interval_seconds": interval_seconds,
        "shards": [
            _to_shard_document(earlier, sample) for earlier, sample in zip(before, now, strict=True)
        ],
    }


def _to_shard_document(before: StatsSample, now: StatsSample) -> dict[str, Any]:
    if now.stats is None:
        return {"address": now.address, "error": now.error}
    rates = compute_rates(before, now)
    return {
        "address": now.address,
        "stats": to_json(now.stats),
        "rates": asdict(rates) if rates else None,
    }
