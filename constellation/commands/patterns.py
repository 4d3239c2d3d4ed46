"""`constellation patterns`: some of the patterns that a shard may show to devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import to_rows
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.flags import add_connection_flags
from constellation.cli.ids import parse_device_id
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
from constellation.cli.titles import format_title, look_up_contents
from constellation.v1 import patterns_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from constellation.cli.parsing import Commands

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 2000


def add_patterns(commands: Commands) -> None:
    parser = commands.add(
        "patterns",
        run_patterns,
        "print some patterns of a shard, picked evenly, or those of one device",
        details="The patterns of a device bear its own ids; the others pseudonyms, as devices "
        "see them.",
        examples=("--limit 5", "--device 5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b"),
    )
    parser.add_argument(
        "--device", type=parse_device_id, metavar="DEVICE_ID", help="all patterns of this device"
    )
    parser.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_LIMIT, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help="how many to pick (default: %(default)s)",
    )
    add_connection_flags(parser)


async def run_patterns(options: Namespace) -> int:
    """Print patterns."""
    async with open_remote(options) as remote:
        if options.device is None:
            sample = await remote.call(
                remote.shard.SamplePatterns, shard_pb2.SamplePatternsRequest(limit=options.limit)
            )
            document, patterns = to_json(sample), sample.patterns
            shown, population = len(patterns.success_rates), pluralise(sample.population, "pattern")
            summary = (
                f"{format_count(shown)} of {population}"
                if shown
                else "no patterns that may be shown yet"
            )
        else:
            response = await remote.find(
                remote.shard.GetDevice, shard_pb2.GetDeviceRequest(device_id=options.device)
            )
            if response is None:
                raise CommandError(
                    f"no device {options.device.hex()} has synced at {remote.address}; "
                    "`constellation devices DEVICE_ID --all` looks for it everywhere"
                )
            document, patterns = to_json(response), response.patterns
            summary = f"{pluralise(len(patterns.success_rates), 'pattern')} of this device"
        if options.json:
            print_json(document)
            return SUCCESS
        titles = await look_up_contents(remote, patterns.content_ids)
    console = make_console()
    print_patterns(console, patterns, titles)
    console.print(f"[dim]{summary}[/]")
    return SUCCESS


def print_patterns(
    console: Console,
    patterns: patterns_pb2.PatternColumns,
    titles: Mapping[str, shard_pb2.Content],
    similarities: Sequence[float] = (),
) -> None:
    """Print a row for each pattern."""
    columns = (
        number_column("success"),
        number_column("views"),
        text_column("when", is_optional=True),
        PrintedColumn("updated", is_optional=True),
        text_column("genres"),
        text_column("contents"),
    )
    table = PrintedTable([number_column("near"), *columns] if similarities else columns)
    for position, row in enumerate(to_rows(patterns)):
        table.add_row(
            *((f"{similarities[position]:.3f}",) if similarities else ()),
            f"{row.success_rate:.0%}",
            format_count(row.sample_count),
            row.context or "always",
            format_age(row.updated_at),
            escape(", ".join(row.genres)),
            escape("; ".join(format_title(each, titles) for each in row.content_ids)),
        )
    table.print(console)
