"""`constellation patterns`: print a sample of a shard's patterns, or those of one device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import to_rows
from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
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
    from constellation.cli.remote import Remote

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 1000


def add_patterns(commands: Commands) -> None:
    parser = commands.add(
        "patterns",
        run_patterns,
        "print a sample of a shard's shareable patterns, or the patterns of one device",
        details="The sample is spread evenly over the shard. In JSON, the patterns of a device "
        "have their own ids; sampled patterns have pseudonyms, as devices see them.",
        examples=("--limit 5", "--device 5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b"),
    )
    parser.add_argument(
        "--device",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="print all patterns of this device",
    )
    parser.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_LIMIT, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help=f"sample N patterns, from 1 to {_MAX_LIMIT} (default: %(default)s)",
    )
    add_connection_flags(parser)


async def run_patterns(options: Namespace) -> int:
    """Print a sample of patterns, or all patterns of one device."""
    async with open_remote(options) as remote:
        response, summary = await (
            _sample_patterns(remote, options.limit)
            if options.device is None
            else _get_device_patterns(remote, options.device)
        )
        if options.json:
            print_json(to_json(response))
            return SUCCESS
        contents = await look_up_contents(remote, response.patterns.content_ids)
    console = make_console()
    print_patterns(console, response.patterns, contents)
    console.print(f"[dim]{summary}[/]")
    return SUCCESS


async def _sample_patterns(
    remote: Remote, limit: int
) -> tuple[shard_pb2.SamplePatternsResponse, str]:
    """Return a sample, and its summary for people."""
    response = await remote.call(
        remote.shard.SamplePatterns, shard_pb2.SamplePatternsRequest(limit=limit)
    )
    count = len(response.patterns.success_rates)
    if not count:
        return response, "no shareable patterns yet"
    return response, f"{format_count(count)} of {pluralise(response.population, 'pattern')}"


async def _get_device_patterns(
    remote: Remote, device_id: bytes
) -> tuple[shard_pb2.GetDeviceResponse, str]:
    """Return a device, and its summary for people. Raises CommandError for an unknown device."""
    response = await remote.find(
        remote.shard.GetDevice, shard_pb2.GetDeviceRequest(device_id=device_id)
    )
    if response is None:
        raise CommandError(
            f"no device {device_id.hex()} has synced at {remote.address}; "
            "`constellation devices DEVICE_ID --all` searches every shard"
        )
    count = len(response.patterns.success_rates)
    return response, f"{pluralise(count, 'pattern')} of this device"


def print_patterns(
    console: Console,
    patterns: patterns_pb2.PatternColumns,
    contents: Mapping[str, shard_pb2.Content],
    similarities: Sequence[float] = (),
) -> None:
    """Print one row per pattern, with the titles of its content items.

    `similarities` has a cosine for each pattern; without it, there is no such column.
    """
    columns = (
        number_column("success"),
        number_column("views"),
        text_column("context", is_optional=True),
        PrintedColumn("updated", is_optional=True),
        text_column("genres"),
        text_column("titles"),
    )
    table = PrintedTable([number_column("similarity"), *columns] if similarities else columns)
    for position, row in enumerate(to_rows(patterns)):
        table.add_row(
            *((f"{similarities[position]:.3f}",) if similarities else ()),
            f"{row.success_rate:.0%}",
            format_count(row.sample_count),
            row.context or "any",
            format_age(row.updated_at),
            escape(", ".join(row.genres)),
            escape("; ".join(format_title(each, contents) for each in row.content_ids)),
        )
    table.print(console)
