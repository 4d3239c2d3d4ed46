"""`federation rounds`: the journal, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.cli.exit_codes import SUCCESS
from constellation.cli.flags import add_connection_flags
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import (
    format_age,
    format_count,
    make_console,
    pluralise,
    print_json,
    to_json,
)
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedColumn, PrintedTable, number_column, text_column
from constellation.v1 import federation_pb2 as pb
from federation.printing import compute_coverage, format_state, to_seconds

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_DEFAULT_LIMIT: Final = 20
_PAGE_SIZE: Final = 100
_EMPTY_MESSAGE: Final = "no rounds yet: `federation round --run` runs one"


def add_rounds(commands: Commands) -> None:
    parser = commands.add(
        "rounds",
        run_rounds,
        "list the rounds of a federation, newest first",
        examples=("", "--limit 100 --json | jq '.rounds[].coverage'"),
    )
    parser.add_argument(
        "--limit",
        type=make_number_parser(0, 1e6, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help="at most so many; 0: all (default: %(default)s)",
    )
    add_connection_flags(parser)


async def run_rounds(options: Namespace) -> int:
    """Print the newest rounds."""
    async with open_remote(options) as remote:
        rounds, has_more = await _list_rounds(remote, options.limit or float("inf"))
    if options.json:
        print_json({"rounds": [to_json(report) for report in rounds], "more": has_more})
        return SUCCESS
    columns = (
        number_column("round"),
        PrintedColumn("closed", is_optional=True),
        text_column("state"),
        number_column("shards"),
        number_column("devices"),
        number_column("clusters"),
        number_column("trends"),
        number_column("took", is_optional=True),
    )
    table = PrintedTable(columns)
    for told in rounds:
        table.add_row(*_format_cells(told))
    console = make_console()
    table.print(console)
    more_hint = "; more follow: --limit 0 lists all" if has_more else ""
    shown = pluralise(len(rounds), "round") if rounds else _EMPTY_MESSAGE
    console.print(f"[dim]{shown}{more_hint}[/]")
    return SUCCESS


async def _list_rounds(remote: Remote, limit: float) -> tuple[list[pb.Round], bool]:
    rounds: list[pb.Round] = []
    token = ""
    while len(rounds) < limit:
        page = await remote.call(
            remote.federation.ListRounds,
            pb.ListRoundsRequest(
                page_size=int(min(_PAGE_SIZE, limit - len(rounds))), page_token=token
            ),
        )
        rounds += page.rounds
        token = page.next_page_token
        if not token:
            break
    return rounds, bool(token)


def _format_cells(report: pb.Round) -> tuple[str, ...]:
    coverage = report.coverage
    took = (
        to_seconds(report.pull_time)
        + to_seconds(report.merge_time)
        + to_seconds(report.publish_time)
    )
    return (
        str(report.round_id),
        format_age(report.closed_at.ToNanoseconds() / 1e9) if report.HasField("closed_at") else "",
        format_state(report.state).partition(":")[0],
        f"{coverage.shards_fresh} of {coverage.shards_total}",
        f"{format_count(coverage.devices_fresh)} ({compute_coverage(coverage):.0%})",
        format_count(report.cluster_count),
        format_count(report.trend_count),
        f"{took:.2f} s",
    )
