"""`federation rounds`: list the rounds in a federation's journal, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.pages import add_limit_flag, fetch_pages
from constellation.cli.printing import (
    format_age,
    format_count,
    make_console,
    pluralise,
    print_json,
    to_json,
    to_seconds,
)
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedColumn, PrintedTable, number_column, text_column
from constellation.v1 import federation_pb2 as pb
from federation.printing import NO_ROUNDS_MESSAGE, format_state, is_taken

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.cli.pages import Listing
    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote
    from constellation.v1.aggregates_pb2 import Coverage

_DEFAULT_LIMIT: Final = 20
_PAGE_SIZE: Final = 100
_MAX_LIMIT: Final = 1e6


def add_rounds(commands: Commands) -> None:
    parser = commands.add(
        "rounds",
        run_rounds,
        "list the rounds of a federation, newest first",
        examples=("", "--limit 100 --json | jq '.rounds[].coverage'"),
    )
    add_limit_flag(parser, _DEFAULT_LIMIT, "rounds", maximum=_MAX_LIMIT)
    add_connection_flags(parser)


async def run_rounds(options: Namespace) -> int:
    """Print the newest rounds, with their coverage and results."""
    async with open_remote(options) as remote:
        listing = await _list_rounds(remote, options.limit)
    rounds = listing.items
    if options.json:
        print_json({"rounds": [to_json(report) for report in rounds], "more": listing.has_more})
        return SUCCESS
    columns = (
        number_column("round"),
        PrintedColumn("closed", is_optional=True),
        text_column("state"),
        number_column("shards"),
        number_column("devices"),
        number_column("clusters"),
        number_column("trends"),
        number_column("related", is_optional=True),
        number_column("duration", is_optional=True),
    )
    table = PrintedTable(columns)
    for report in rounds:
        table.add_row(*_format_cells(report))
    console = make_console()
    table.print(console)
    summary = pluralise(len(rounds), "round") if rounds else NO_ROUNDS_MESSAGE
    console.print(f"[dim]{summary}{listing.more_hint}[/]")
    return SUCCESS


async def _list_rounds(remote: Remote, limit: int) -> Listing[pb.Round]:
    async def fetch_page(size: int, token: str) -> tuple[Sequence[pb.Round], str]:
        page = await remote.call(
            remote.federation.ListRounds, pb.ListRoundsRequest(page_size=size, page_token=token)
        )
        return page.rounds, page.next_page_token

    return await fetch_pages(fetch_page, limit=limit, page_size=_PAGE_SIZE)


def _format_cells(report: pb.Round) -> tuple[str, ...]:
    coverage = report.coverage
    duration = (
        to_seconds(report.pull_time)
        + to_seconds(report.merge_time)
        + to_seconds(report.publish_time)
    )
    return (
        str(report.round_id),
        format_age(to_seconds(report.closed_at)) if report.HasField("closed_at") else "",
        format_state(report.state).partition(":")[0] if is_taken(report) else "not taken",
        f"{coverage.shards_fresh} of {coverage.shards_total}",
        _format_devices(coverage),
        format_count(report.cluster_count),
        format_count(report.trend_count),
        format_count(report.related_count),
        f"{duration:.2f} s",
    )


def _format_devices(coverage: Coverage) -> str:
    if not coverage.devices_total:
        return ""
    share = coverage.devices_fresh / coverage.devices_total
    return f"{format_count(coverage.devices_fresh)} ({share:.0%})"
