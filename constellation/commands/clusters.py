"""`constellation clusters`: what many devices of several shards share."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import to_rows
from constellation.cli.exit_codes import DONE
from constellation.cli.flags import add_flags
from constellation.cli.parsing import number_from
from constellation.cli.printing import count, make_console, many, print_json, to_json
from constellation.cli.remote import one
from constellation.cli.tables import Table, number, words
from constellation.cli.titles import look_up, title_of
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands

_LIMIT: Final = 20
_MAX_LIMIT: Final = 1000
"""A page."""
_TITLES: Final = 3


def add_clusters(commands: Commands) -> None:
    parser = commands.add(
        "clusters",
        run_clusters,
        "print the clusters of the newest round that a shard holds, strongest first",
        examples=("", "--limit 1000 --json"),
    )
    parser.add_argument(
        "--limit",
        type=number_from(1, _MAX_LIMIT, whole=True),
        default=_LIMIT,
        metavar="N",
        help="at most so many, and no more than 1000 (default: %(default)s)",
    )
    add_flags(parser)


async def run_clusters(options: Namespace) -> int:
    """Print the clusters."""
    async with one(options) as remote:
        told = await remote.ask(
            remote.shard.ListClusters, shard_pb2.ListClustersRequest(page_size=options.limit)
        )
        if options.json:
            print_json(to_json(told))
            return DONE
        rows = to_rows(told.clusters)
        shown = (each for row in rows for each in islice(row.content_ids, _TITLES))
        titles = await look_up(remote, shown)
    table = Table([number("devices"), number("success"), words("genres"), words("contents")])
    for row in rows:
        left = len(row.content_ids) - _TITLES
        contents = "; ".join(title_of(each, titles) for each in row.content_ids[:_TITLES])
        table.add(
            count(row.sample_count),
            f"{row.success_rate:.0%}",
            escape(", ".join(row.genres[:_TITLES])),
            escape(contents) + (f" and {left} more" if left > 0 else ""),
        )
    console = make_console()
    table.print(console)
    of = f"of round {told.round_id}" if told.round_id else "yet: no round was published here"
    more = "; more follow" if told.next_page_token else ""
    console.print(f"[dim]{many(len(rows), 'cluster') if rows else 'no clusters'} {of}{more}[/]")
    return DONE
