"""`constellation status`: print the identity, the health and the size of shards."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.flags import add_connection_flags
from constellation.cli.health import HEALTH_LABELS, add_component_rows
from constellation.cli.printing import (
    format_age,
    format_count,
    format_milliseconds,
    format_size,
    make_console,
    pluralise,
    print_json,
    print_message,
    to_json,
    to_seconds,
)
from constellation.cli.remote import open_remotes
from constellation.cli.tables import (
    PrintedColumn,
    PrintedTable,
    number_column,
    prose_column,
    text_column,
)
from constellation.v1 import health_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from rich.console import Console

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_UNHEALTHY: Final = health_pb2.HEALTH_STATUS_UNHEALTHY


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """What one shard reports of itself, or the error when it could not be asked."""

    address: str
    info: shard_pb2.GetInfoResponse
    stats: shard_pb2.GetStatsResponse
    health: health_pb2.GetDetailedHealthResponse
    error: str = ""
    """Why the calls failed; then the responses are empty. Empty when they succeeded."""

    @property
    def is_ok(self) -> bool:
        return not self.error and self.health.status != _UNHEALTHY


def add_status(commands: Commands) -> None:
    parser = commands.add(
        "status",
        run_status,
        "print the identity, the health and the size of shards",
        details="Prints a table when there are several shards. Fails when one is unreachable or "
        "unhealthy.",
        examples=(
            "",
            "--address shard-0:50051,shard-1:50051",
            "--all --json | jq '.shards[].stats.patterns'",
        ),
    )
    add_connection_flags(parser, several=True, fleet=True)


async def run_status(options: Namespace) -> int:
    """Print the status of each shard; fail when one is unreachable or unhealthy."""
    async with open_remotes(options) as remotes:
        shards = await asyncio.gather(*(_fetch_status(remote) for remote in remotes))
    if options.json:
        print_json({"shards": [_to_document(shard) for shard in shards]})
    elif len(shards) == 1 and not shards[0].error:
        _print_shard(make_console(), shards[0])
    elif len(shards) > 1:
        _print_table(make_console(), shards)
    for shard in shards:
        if shard.error:
            print_message(f"constellation: {shard.error}")
    return SUCCESS if all(shard.is_ok for shard in shards) else FAILURE


async def _fetch_status(remote: Remote) -> ShardStatus:
    try:
        info = await remote.call(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
        stats, health = await asyncio.gather(
            remote.call(remote.shard.GetStats, shard_pb2.GetStatsRequest()),
            remote.call(remote.health.GetDetailedHealth, health_pb2.GetDetailedHealthRequest()),
        )
    except CommandError as error:
        return ShardStatus(
            remote.address,
            shard_pb2.GetInfoResponse(),
            shard_pb2.GetStatsResponse(),
            health_pb2.GetDetailedHealthResponse(),
            str(error),
        )
    return ShardStatus(remote.address, info, stats, health)


def _to_document(shard: ShardStatus) -> dict[str, Any]:
    if shard.error:
        return {"address": shard.address, "error": shard.error}
    return {
        "address": shard.address,
        "info": to_json(shard.info),
        "stats": to_json(shard.stats),
        "health": to_json(shard.health),
    }


def _print_shard(console: Console, shard: ShardStatus) -> None:
    info, stats = shard.info, shard.stats
    console.print(
        f"[bold]Shard {info.shard_id}[/] of {escape(info.region)} at {escape(shard.address)}: "
        f"{HEALTH_LABELS[shard.health.status]}"
    )
    table = PrintedTable([PrintedColumn(""), prose_column("")])
    add_component_rows(table, shard.health.components)
    table.add_row(
        "  process",
        f"version {escape(info.version)}, started {format_age(to_seconds(info.started_at))}, "
        f"epoch {info.epoch}, {format_size(stats.resident_bytes)} of memory",
    )
    table.add_row(
        "  devices",
        f"{format_count(stats.total_devices)} of at most {format_count(info.max_devices)}, "
        f"{format_count(stats.active_devices)} active, {pluralise(stats.streams, 'stream')}",
    )
    table.add_row(
        "  patterns",
        f"{format_count(stats.patterns)} stored, {format_count(stats.index_patterns)} "
        f"shared with other devices ({escape(stats.index_kind)} index)",
    )
    table.add_row("  catalogue", pluralise(stats.contents, "content item"))
    table.add_row(
        "  last minute",
        f"{pluralise(round(stats.syncs_per_minute), 'delta')}{_format_latency(stats)}",
    )
    table.add_row("  since start", _format_since_start(stats))
    table.add_row("  round", _format_round(stats))
    table.print(console)


def _format_latency(stats: shard_pb2.GetStatsResponse) -> str:
    if not stats.HasField("sync_latency_mean_seconds"):
        return ""
    return (
        f", acknowledged after {format_milliseconds(stats.sync_latency_mean_seconds)} (mean), "
        f"{format_milliseconds(stats.sync_latency_p99_seconds)} (p99)"
    )


def _format_since_start(stats: shard_pb2.GetStatsResponse) -> str:
    batch_size = f" of {stats.deltas_per_commit:.3g} deltas" if stats.commits else ""
    return (
        f"{pluralise(stats.deltas_applied, 'delta')}, "
        f"{pluralise(stats.deltas_duplicate, 'duplicate')}, "
        f"{pluralise(stats.patterns_rejected, 'pattern')} rejected; "
        f"{pluralise(stats.commits, 'commit')}{batch_size}"
    )


def _format_round(stats: shard_pb2.GetStatsResponse) -> str:
    if not stats.round_id:
        return "none yet"
    clusters = pluralise(stats.clusters, "cluster")
    return f"{stats.round_id}, {clusters}, codebook {stats.codebook_version}"


def _print_table(console: Console, shards: Sequence[ShardStatus]) -> None:
    columns = (
        number_column("shard"),
        text_column("address"),
        text_column("region", is_optional=True),
        PrintedColumn("health"),
        number_column("epoch", is_optional=True),
        number_column("devices"),
        number_column("streams"),
        number_column("patterns"),
        number_column("deltas/min", is_optional=True),
        number_column("p99 latency", is_optional=True),
        number_column("round"),
    )
    table = PrintedTable(columns)
    for shard in shards:
        table.add_row(*_format_cells(shard))
    table.print(console)
    answered = [shard.stats for shard in shards if not shard.error]
    console.print(
        f"[dim]{len(answered)} of {len(shards)} shards answered: "
        f"{pluralise(sum(each.total_devices for each in answered), 'device')}, "
        f"{pluralise(sum(each.streams for each in answered), 'stream')}, "
        f"{pluralise(sum(each.patterns for each in answered), 'pattern')}[/]"
    )


def _format_cells(shard: ShardStatus) -> Sequence[str]:
    if shard.error:
        return ("?", escape(shard.address), "", "[red]unreachable[/]")
    info, stats = shard.info, shard.stats
    has_latency = stats.HasField("sync_latency_p99_seconds")
    return (
        str(info.shard_id),
        escape(shard.address),
        escape(info.region),
        HEALTH_LABELS[shard.health.status],
        str(info.epoch),
        format_count(stats.total_devices),
        format_count(stats.streams),
        format_count(stats.patterns),
        format_count(stats.syncs_per_minute),
        format_milliseconds(stats.sync_latency_p99_seconds) if has_latency else "",
        str(stats.round_id or ""),
    )
