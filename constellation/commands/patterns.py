"""`constellation patterns`: some of the patterns that a shard may show to devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import to_rows
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import DONE
from constellation.cli.flags import add_flags
from constellation.cli.ids import device_id
from constellation.cli.parsing import number_from
from constellation.cli.printing import (
    ago,
    count,
    make_console,
    many,
    print_json,
    to_json,
)
from constellation.cli.remote import one
from constellation.cli.tables import Column, Table, number, words
from constellation.cli.titles import look_up, title_of
from constellation.v1 import patterns_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from constellation.cli.parsing import Commands

_LIMIT: Final = 20
_MAX_LIMIT: Final = 2000


def add_patterns(commands: Commands) -> None:
    parser = commands.add(
        "patterns",
        run_patterns,
        "print some patterns of a shard, picked evenly, or those of one device",
        more="The patterns of a device bear its own ids; the others pseudonyms, as devices "
        "see them.",
        examples=("--limit 5", "--device 5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b"),
    )
    parser.add_argument(
        "--device", type=device_id, metavar="DEVICE_ID", help="all patterns of this device"
    )
    parser.add_argument(
        "--limit",
        type=number_from(1, _MAX_LIMIT, whole=True),
        default=_LIMIT,
        metavar="N",
        help="how many to pick (default: %(default)s)",
    )
    add_flags(parser)


async def run_patterns(options: Namespace) -> int:
    """Print patterns."""
    async with one(options) as remote:
        if options.device is None:
            sample = await remote.ask(
                remote.shard.SamplePatterns, shard_pb2.SamplePatternsRequest(limit=options.limit)
            )
            document, patterns = to_json(sample), sample.patterns
            shown, of = len(patterns.success_rates), many(sample.population, "pattern")
            told = f"{count(shown)} of {of}" if shown else "no patterns that may be shown yet"
        else:
            answer = await remote.find(
                remote.shard.GetDevice, shard_pb2.GetDeviceRequest(device_id=options.device)
            )
            if answer is None:
                raise CommandError(
                    f"no device {options.device.hex()} has synced at {remote.address}; "
                    "`constellation devices DEVICE_ID --all` looks for it everywhere"
                )
            document, patterns = to_json(answer), answer.patterns
            told = f"{many(len(patterns.success_rates), 'pattern')} of this device"
        if options.json:
            print_json(document)
            return DONE
        titles = await look_up(remote, patterns.content_ids)
    console = make_console()
    print_patterns(console, patterns, titles)
    console.print(f"[dim]{told}[/]")
    return DONE


def print_patterns(
    console: Console,
    patterns: patterns_pb2.PatternColumns,
    titles: Mapping[str, shard_pb2.Content],
    similarities: Sequence[float] = (),
) -> None:
    """Print a row for each pattern."""
    columns = (
        number("success"),
        number("views"),
        words("when", is_spare=True),
        Column("updated", is_spare=True),
        words("genres"),
        words("contents"),
    )
    table = Table([number("near"), *columns] if similarities else columns)
    for place, row in enumerate(to_rows(patterns)):
        table.add(
            *((f"{similarities[place]:.3f}",) if similarities else ()),
            f"{row.success_rate:.0%}",
            count(row.sample_count),
            row.context or "always",
            ago(row.updated_at),
            escape(", ".join(row.genres)),
            escape("; ".join(title_of(each, titles) for each in row.content_ids)),
        )
    table.print(console)
