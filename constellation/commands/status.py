"""`constellation status`: who shards are, how they are, and what they hold."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import DONE, FAILED
from constellation.cli.flags import add_flags
from constellation.cli.printing import (
    ago,
    count,
    make_console,
    many,
    milliseconds,
    print_json,
    size,
    tell,
    to_json,
)
from constellation.cli.remote import several
from constellation.cli.tables import Column, Table, number, prose, words
from constellation.v1 import health_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from rich.console import Console

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_UNHEALTHY: Final = health_pb2.HEALTH_STATUS_UNHEALTHY
HEALTH_WORDS: Final = {
    health_pb2.HEALTH_STATUS_HEALTHY: "[green]healthy[/]",
    health_pb2.HEALTH_STATUS_DEGRADED: "[yellow]degraded[/]",
    health_pb2.HEALTH_STATUS_UNHEALTHY: "[red]unhealthy[/]",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What one shard said of itself, or why it said nothing."""

    address: str
    info: shard_pb2.GetInfoResponse
    stats: shard_pb2.GetStatsResponse
    health: health_pb2.GetDetailedHealthResponse
    problem: str = ""

    @property
    def well(self) -> bool:
        return not self.problem and self.health.status != _UNHEALTHY


def add_status(commands: Commands) -> None:
    parser = commands.add(
        "status",
        run_status,
        "print who a shard is, how its parts are, and what it holds",
        more="Several shards make a table. Fails when one does not answer, or is unhealthy.",
        examples=(
            "",
            "--address shard-0:50051,shard-1:50051",
            "--all --json | jq '.shards[].stats.patterns'",
        ),
    )
    add_flags(parser, several=True, fleet=True)


async def run_status(options: Namespace) -> int:
    """Print what the shards say of themselves."""
    async with several(options) as remotes:
        shards = await asyncio.gather(*(_look(remote) for remote in remotes))
    if options.json:
        print_json({"shards": [_document(seen) for seen in shards]})
    elif len(shards) == 1 and not shards[0].problem:
        _print_one(make_console(), shards[0])
    elif len(shards) > 1:
        _print_table(make_console(), shards)
    for seen in shards:
        if seen.problem:
            tell(f"constellation: {seen.problem}")
    return DONE if all(seen.well for seen in shards) else FAILED


async def _look(remote: Remote) -> Seen:
    try:
        info = await remote.ask(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
        stats, health = await asyncio.gather(
            remote.ask(remote.shard.GetStats, shard_pb2.GetStatsRequest()),
            remote.ask(remote.health.GetDetailedHealth, health_pb2.GetDetailedHealthRequest()),
        )
    except CommandError as error:
        return Seen(
            remote.address,
            shard_pb2.GetInfoResponse(),
            shard_pb2.GetStatsResponse(),
            health_pb2.GetDetailedHealthResponse(),
            str(error),
        )
    return Seen(remote.address, info, stats, health)


def _document(seen: Seen) -> dict[str, Any]:
    if seen.problem:
        return {"address": seen.address, "problem": seen.problem}
    return {
        "address": seen.address,
        "info": to_json(seen.info),
        "stats": to_json(seen.stats),
        "health": to_json(seen.health),
    }


def _print_one(console: Console, seen: Seen) -> None:
    info, stats = seen.info, seen.stats
    console.print(
        f"[bold]Shard {info.shard_id}[/] of {escape(info.region)} at {seen.address}: "
        f"{HEALTH_WORDS[seen.health.status]}"
    )
    rows = Table([Column(""), prose("")])
    for part in seen.health.components:
        took = f", looked at in {milliseconds(part.latency.ToNanoseconds() / 1e9)}"
        rows.add(
            f"  {part.name}",
            f"{HEALTH_WORDS[part.status]}: {escape(part.message)}"
            f"{took if part.HasField('latency') else ''}",
        )
    started = info.started_at.ToNanoseconds() / 1e9
    rows.add(
        "  process",
        f"version {info.version}, started {ago(started)}, epoch {info.epoch}, "
        f"{size(stats.resident_bytes)} of memory",
    )
    rows.add(
        "  devices",
        f"{count(stats.total_devices)} of at most {count(info.max_devices)}, "
        f"{count(stats.active_devices)} active, {many(stats.streams, 'stream')}",
    )
    rows.add(
        "  patterns",
        f"{count(stats.patterns)} stored, {count(stats.index_patterns)} "
        f"shown to other devices ({stats.index_kind} index)",
    )
    rows.add("  catalogue", many(stats.contents, "content"))
    rows.add("  last minute", f"{many(round(stats.syncs_per_minute), 'delta')}{_latency(stats)}")
    rows.add("  since start", _since_start(stats))
    rows.add("  round", _round(stats))
    rows.print(console)


def _latency(stats: shard_pb2.GetStatsResponse) -> str:
    if not stats.HasField("sync_latency_mean_seconds"):
        return ""
    return (
        f", acked after {milliseconds(stats.sync_latency_mean_seconds)} (mean), "
        f"{milliseconds(stats.sync_latency_p99_seconds)} (p99)"
    )


def _since_start(stats: shard_pb2.GetStatsResponse) -> str:
    each = f" of {stats.deltas_per_commit:.3g} deltas" if stats.commits else ""
    return (
        f"{many(stats.deltas_applied, 'delta')}, {many(stats.deltas_duplicate, 'duplicate')}, "
        f"{many(stats.patterns_rejected, 'pattern')} rejected; "
        f"{many(stats.commits, 'commit')}{each}"
    )


def _round(stats: shard_pb2.GetStatsResponse) -> str:
    if not stats.round_id:
        return "none yet"
    clusters = many(stats.clusters, "cluster")
    return f"{stats.round_id}, {clusters}, codebook {stats.codebook_version}"


def _print_table(console: Console, shards: list[Seen]) -> None:
    columns = (
        number("shard"),
        words("address"),
        words("region", is_spare=True),
        Column("health"),
        number("epoch", is_spare=True),
        number("devices"),
        number("streams"),
        number("patterns"),
        number("a minute", is_spare=True),
        number("p99", is_spare=True),
        number("round"),
    )
    table = Table(columns)
    for seen in shards:
        if seen.problem:
            table.add("?", seen.address, "", "[red]no answer[/]")
            continue
        info, stats = seen.info, seen.stats
        p99 = stats.HasField("sync_latency_p99_seconds")
        table.add(
            str(info.shard_id),
            seen.address,
            escape(info.region),
            HEALTH_WORDS[seen.health.status],
            str(info.epoch),
            count(stats.total_devices),
            count(stats.streams),
            count(stats.patterns),
            count(stats.syncs_per_minute),
            milliseconds(stats.sync_latency_p99_seconds) if p99 else "",
            str(stats.round_id or ""),
        )
    table.print(console)
    answered = [seen.stats for seen in shards if not seen.problem]
    console.print(
        f"[dim]{len(answered)} of {len(shards)} shards answered: "
        f"{many(sum(each.total_devices for each in answered), 'device')}, "
        f"{many(sum(each.streams for each in answered), 'stream')}, "
        f"{many(sum(each.patterns for each in answered), 'pattern')}[/]"
    )
