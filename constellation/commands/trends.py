"""`constellation trends`: print a shard's trends with their hourly number of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.text import Text

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.pages import add_limit_flag
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import (
    draw_sparkline,
    format_count,
    make_console,
    pluralise,
    print_json,
    to_json,
)
from constellation.cli.remote import open_remote
from constellation.cli.tables import PrintedColumn, PrintedTable, number_column, text_column
from constellation.cli.titles import format_title, look_up_contents
from constellation.cli.trend_labels import format_direction
from constellation.v1 import patterns_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_DEFAULT_HOURS: Final = 24
_MAX_HOURS: Final = 168
_DEFAULT_LIMIT: Final = 20
_MAX_LIMIT: Final = 1e6
_SCOPES: Final = {
    patterns_pb2.TREND_SCOPE_GLOBAL: "global",
    patterns_pb2.TREND_SCOPE_REGIONAL: "regional",
}


def add_trends(commands: Commands) -> None:
    parser = commands.add(
        "trends",
        run_trends,
        "print the trends of a shard, strongest first",
        details="The bars are the hourly numbers of devices on this shard, the newest hour last. "
        "Hours with fewer than K_ANONYMITY devices count as 0.",
        examples=("", "--hours 168 --limit 5", "--json | jq '.trends[].trend.content_id'"),
    )
    parser.add_argument(
        "--hours",
        type=make_number_parser(0, _MAX_HOURS, is_integer=True),
        default=_DEFAULT_HOURS,
        metavar="N",
        help=f"hours of history, from 0 to {_MAX_HOURS} (default: %(default)s)",
    )
    add_limit_flag(parser, _DEFAULT_LIMIT, "trends", maximum=_MAX_LIMIT)
    add_connection_flags(parser)


async def run_trends(options: Namespace) -> int:
    """Print the trends with the titles of their content items."""
    async with open_remote(options) as remote:
        response = await remote.call(
            remote.shard.ListTrends,
            shard_pb2.ListTrendsRequest(limit=options.limit, hours=options.hours),
        )
        if options.json:
            print_json(to_json(response))
            return SUCCESS
        contents = await look_up_trend_contents(remote, response)
    console = make_console()
    _make_table(response, contents, options.hours).print(console)
    count = len(response.trends)
    console.print(f"[dim]{pluralise(count, 'trend') if count else 'no trends yet'}[/]")
    return SUCCESS


async def look_up_trend_contents(
    remote: Remote, response: shard_pb2.ListTrendsResponse
) -> Mapping[str, shard_pb2.Content]:
    """Return the content items that trends are about, by id."""
    return await look_up_contents(
        remote, [each.trend.content_id for each in response.trends if each.trend.content_id]
    )


def format_subject(trend: patterns_pb2.Trend, contents: Mapping[str, shard_pb2.Content]) -> str:
    """Return the genre, or the title of the content item, that a trend is about."""
    return f"genre {trend.genre}" if trend.genre else format_title(trend.content_id, contents)


def format_direction_and_region(trend: patterns_pb2.Trend) -> str:
    """Return the direction and the region of a trend as plain text, such as "rising, global"."""
    return f"{Text.from_markup(format_direction(trend)).plain}, {_format_region(trend)}"


def _make_table(
    response: shard_pb2.ListTrendsResponse, contents: Mapping[str, shard_pb2.Content], hours: int
) -> PrintedTable:
    history = (
        (PrintedColumn(f"last {hours} h", is_optional=True), number_column("this hour"))
        if hours
        else ()
    )
    columns = (
        number_column("score"),
        text_column("trend"),
        PrintedColumn("direction"),
        text_column("region"),
    )
    table = PrintedTable([*columns, *history, number_column("popularity", is_optional=True)])
    for each in response.trends:
        trend, hourly = each.trend, each.hourly_devices
        table.add_row(
            f"{trend.score:.1f}",
            escape(format_subject(trend, contents)),
            format_direction(trend),
            _format_region(trend),
            *((draw_sparkline(hourly), format_count(hourly[-1])) if hours else ()),
            format_count(trend.popularity),
        )
    return table


def _format_region(trend: patterns_pb2.Trend) -> str:
    """Return the region with its scope; the scope alone when both are the same word."""
    scope = _SCOPES.get(trend.scope, "")
    return scope if trend.region == scope else f"{escape(trend.region)}, {scope}"
