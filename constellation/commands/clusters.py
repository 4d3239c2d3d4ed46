"""`constellation clusters`: print the clusters that a shard has from the newest round."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.columns import to_rows
from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import format_count, make_console, pluralise, print_json, to_json
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedTable, number_column, text_column
from constellation.cli.titles import format_title, look_up_contents
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from constellation.cli.columns import PatternRow
    from constellation.cli.parsing import Commands

_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 1000
"""The largest page that a shard returns."""
_TITLES_PER_CLUSTER: Final = 3


def add_clusters(commands: Commands) -> None:
    parser = commands.add(
        "clusters",
        run_clusters,
        "print a shard's clusters of the newest round, strongest first",
        examples=("", "--limit 1000 --json"),
    )
    parser.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_LIMIT, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help=f"print at most N clusters, from 1 to {_MAX_LIMIT} (default: %(default)s)",
    )
    add_connection_flags(parser)


async def run_clusters(options: Namespace) -> int:
    """Print the clusters with the titles of their content items."""
    async with open_remote(options) as remote:
        response = await remote.call(
            remote.shard.ListClusters, shard_pb2.ListClustersRequest(page_size=options.limit)
        )
        if options.json:
            print_json(to_json(response))
            return SUCCESS
        rows = to_rows(response.clusters)
        printed = (each for row in rows for each in islice(row.content_ids, _TITLES_PER_CLUSTER))
        contents = await look_up_contents(remote, printed)
    console = make_console()
    _make_table(rows, contents).print(console)
    console.print(f"[dim]{_format_summary(response, len(rows))}[/]")
    return SUCCESS


def _make_table(
    rows: Sequence[PatternRow], contents: Mapping[str, shard_pb2.Content]
) -> PrintedTable:
    table = PrintedTable(
        [
            number_column("devices"),
            number_column("success"),
            text_column("genres"),
            text_column("titles"),
        ]
    )
    for row in rows:
        hidden_count = len(row.content_ids) - _TITLES_PER_CLUSTER
        titles = "; ".join(
            format_title(each, contents) for each in row.content_ids[:_TITLES_PER_CLUSTER]
        )
        table.add_row(
            format_count(row.sample_count),
            f"{row.success_rate:.0%}",
            escape(", ".join(row.genres[:_TITLES_PER_CLUSTER])),
            escape(titles) + (f" and {hidden_count} more" if hidden_count > 0 else ""),
        )
    return table


def _format_summary(response: shard_pb2.ListClustersResponse, count: int) -> str:
    if not response.round_id:
        return "no clusters yet: this shard has received no round"
    clusters = pluralise(count, "cluster") if count else "no clusters"
    more_hint = "; more exist" if response.next_page_token else ""
    return f"{clusters} of round {response.round_id}{more_hint}"
