"""`constellation status`: print the identity, the health and the size of shards."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE
from constellation.cli.health import add_component_rows, format_state, to_exit_code
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


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """What one shard reports of itself, or the error when it could not be asked."""

    address: str
    health: health_pb2.GetDetailedHealthResponse
    """Empty when the process could not be asked."""
    info: shard_pb2.GetInfoResponse | None = None
    """None while the process does not serve its shard: it starts, or waits as a spare."""
    stats: shard_pb2.GetStatsResponse | None = None
    error: str = ""
    """Why the calls failed; empty when they succeeded."""


def add_status(commands: Commands) -> None:
    parser = commands.add(
        "status",
        run_status,
        "print the identity, the health and the size of shards",
        details="Prints a table when there are several shards. Fails when one is unreachable or "
        "unhealthy; exits with status 3 when one is degraded, waits as a spare or drains.",
        examples=(
            "",
            "--address shard-0:50051,shard-1:50051",
            "--all --json | jq '.shards[].stats.patterns'",
        ),
    )
    add_connection_flags(parser, several=True, fleet=True)


async def run_status(options: Namespace) -> int:
    """Print the status of each shard; the exit code is that of the worst."""
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
    if any(shard.error for shard in shards):
        return FAILURE
    return to_exit_code(shard.health.status for shard in shards)


async def _fetch_status(remote: Remote) -> ShardStatus:
    try:
        # a method that only a shard has comes first, so that a federation is recognised
        info = await remote.find(
            remote.shard.GetInfo, shard_pb2.GetInfoRequest(), or_not_ready=True
        )
        stats = await remote.find(
            remote.shard.GetStats, shard_pb2.GetStatsRequest(), or_not_ready=True
        )
        health = await remote.call(
            remote.health.GetDetailedHealth, health_pb2.GetDetailedHealthRequest()
        )
    except CommandError as error:
        unknown = health_pb2.GetDetailedHealthResponse()
        return ShardStatus(remote.address, unknown, error=str(error))
    return ShardStatus(remote.address, health, info, stats)


def _to_document(shard: ShardStatus) -> dict[str, Any]:
    if shard.error:
        return {"address": shard.address, "error": shard.error}
    return {
        "address": shard.address,
        "info": to_json(shard.info) if shard.info else None,
        "stats": to_json(shard.stats) if shard.stats else None,
        "health": to_json(shard.health),
    }


def _print_shard(console: Console, shard: ShardStatus) -> None:
    name = "[bold]Process[/]"
    if shard.info:
        name = f"[bold]Shard {shard.info.shard_id}[/] of {escape(shard.info.region)}"
    console.print(f"{name} at {escape(shard.address)}: {format_state(shard.health)}")
    table = PrintedTable([PrintedColumn(""), prose_column("")])
    add_component_rows(table, shard.health.components)
    if shard.info and shard.stats:
        _add_shard_rows(table, shard.info, shard.stats)
    table.print(console)


def _add_shard_rows(
    table: PrintedTable, info: shard_pb2.GetInfoResponse, stats: shard_pb2.GetStatsResponse
) -> None:
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
    table.add_row("  related", _format_related(stats))


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


def _format_related(stats: shard_pb2.GetStatsResponse) -> str:
    rows = pluralise(stats.related_rows, "row")
    lists = pluralise(stats.popular_lists, "popular list")
    liked = pluralise(stats.liked_contents, "liked content item")
    return f"{rows} and {lists}; {liked} of {pluralise(stats.contributors, 'device')}"


def _print_table(console: Console, shards: Sequence[ShardStatus]) -> None:
    columns = (
        number_column("shard"),
        text_column("address"),
        text_column("region", is_optional=True),
        text_column("health"),
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
    answered = sum(not shard.error for shard in shards)
    known = [shard.stats for shard in shards if shard.stats]
    console.print(
        f"[dim]{answered} of {len(shards)} shards answered: "
        f"{pluralise(sum(each.total_devices for each in known), 'device')}, "
        f"{pluralise(sum(each.streams for each in known), 'stream')}, "
        f"{pluralise(sum(each.patterns for each in known), 'pattern')}[/]"
    )


def _format_cells(shard: ShardStatus) -> Sequence[str]:
    if shard.error:
        return ("?", escape(shard.address), "", "[red]unreachable[/]")
    state = format_state(shard.health)
    if shard.info is None or shard.stats is None:
        return ("?", escape(shard.address), "", state)
    info, stats = shard.info, shard.stats
    has_latency = stats.HasField("sync_latency_p99_seconds")
    return (
        str(info.shard_id),
        escape(shard.address),
        escape(info.region),
        state,
        str(info.epoch),
        format_count(stats.total_devices),
        format_count(stats.streams),
        format_count(stats.patterns),
        format_count(stats.syncs_per_minute),
        format_milliseconds(stats.sync_latency_p99_seconds) if has_latency else "",
        str(stats.round_id or ""),
    )
