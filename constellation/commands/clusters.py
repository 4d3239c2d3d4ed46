"""`constellation clusters`: what many devices of several shards share."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import to_rows
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.flags import add_connection_flags
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import format_count, make_console, pluralise, print_json, to_json
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedTable, number_column, text_column
from constellation.cli.titles import format_title, look_up_contents
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 1000
"""A page."""
_TITLES_PER_CLUSTER: Final = 3


def add_clusters(commands: Commands) -> None:
    parser = commands.add(
        "clusters",
        run_clusters,
        "print the clusters of the newest round that a shard holds, strongest first",
        examples=("", "--limit 1000 --json"),
    )
    parser.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_LIMIT, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help="at most so many, and no more than 1000 (default: %(default)s)",
    )
    add_connection_flags(parser)


async def run_clusters(options: Namespace) -> int:
    """Print the clusters."""
    async with open_remote(options) as remote:
        response = await remote.call(
            remote.shard.ListClusters, shard_pb2.ListClustersRequest(page_size=options.limit)
        )
        if options.json:
            print_json(to_json(response))
            return SUCCESS
        rows = to_rows(response.clusters)
        shown = (each for row in rows for each in islice(row.content_ids, _TITLES_PER_CLUSTER))
        titles = await look_up_contents(remote, shown)
    table = PrintedTable(
        [
            number_column("devices"),
            number_column("success"),
            text_column("genres"),
            text_column("contents"),
        ]
    )
    for row in rows:
        hidden_count = len(row.content_ids) - _TITLES_PER_CLUSTER
        contents = "; ".join(
            format_title(each, titles) for each in row.content_ids[:_TITLES_PER_CLUSTER]
        )
        table.add_row(
            format_count(row.sample_count),
            f"{row.success_rate:.0%}",
            escape(", ".join(row.genres[:_TITLES_PER_CLUSTER])),
            escape(contents) + (f" and {hidden_count} more" if hidden_count > 0 else ""),
        )
    console = make_console()
    table.print(console)
    round_summary = (
        f"of round {response.round_id}" if response.round_id else "yet: no round was published here"
    )
    more_hint = "; more follow" if response.next_page_token else ""
    console.print(
        f"[dim]{pluralise(len(rows), 'cluster') if rows else 'no clusters'} {round_summary}{more_hint}[/]"
    )
    return SUCCESS
