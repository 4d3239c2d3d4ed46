"""`constellation trends`: what is trending, and how many devices were behind it hour by hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.text import Text

from constellation.cli.exit_codes import SUCCESS
from constellation.cli.flags import add_connection_flags
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
from constellation.v1 import patterns_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_DEFAULT_HOURS: Final = 24
_MAX_HOURS: Final = 168
_DEFAULT_LIMIT: Final = 20
_DIRECTIONS: Final = {
    patterns_pb2.TREND_DIRECTION_RISING: "[green]rising[/]",
    patterns_pb2.TREND_DIRECTION_PEAKING: "peaking",
    patterns_pb2.TREND_DIRECTION_FALLING: "[red]falling[/]",
}
_SCOPES: Final = {
    patterns_pb2.TREND_SCOPE_GLOBAL: "global",
    patterns_pb2.TREND_SCOPE_REGIONAL: "regional",
}


def add_trends(commands: Commands) -> None:
    parser = commands.add(
        "trends",
        run_trends,
        "print the trends that a shard serves, strongest first",
        details="With the devices behind each on this shard, hour by hour, as a line of bars, the "
        "newest last; hours of fewer than K_ANONYMITY devices count as none.",
        examples=("", "--hours 168 --limit 5", "--json | jq '.trends[].trend.content_id'"),
    )
    parser.add_argument(
        "--hours",
        type=make_number_parser(0, _MAX_HOURS, is_integer=True),
        default=_DEFAULT_HOURS,
        metavar="N",
        help="hours of history (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=make_number_parser(0, 1e6, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help="at most so many; 0: all (default: %(default)s)",
    )
    add_connection_flags(parser)


async def run_trends(options: Namespace) -> int:
    """Print the trends."""
    async with open_remote(options) as remote:
        response = await remote.call(
            remote.shard.ListTrends,
            shard_pb2.ListTrendsRequest(limit=options.limit, hours=options.hours),
        )
        if options.json:
            print_json(to_json(response))
            return SUCCESS
        titles = await look_up_trend_contents(remote, response)
    _print_trends(response, titles, options.hours)
    return SUCCESS


async def look_up_trend_contents(
    remote: Remote, response: shard_pb2.ListTrendsResponse
) -> Mapping[str, shard_pb2.Content]:
    """Look the contents of trends up."""
    return await look_up_contents(
        remote, [each.trend.content_id for each in response.trends if each.trend.content_id]
    )


def format_subject(trend: patterns_pb2.Trend, titles: Mapping[str, shard_pb2.Content]) -> str:
    """Return what a trend is of."""
    return f"genre {trend.genre}" if trend.genre else format_title(trend.content_id, titles)


def format_direction_and_region(trend: patterns_pb2.Trend) -> str:
    """Return where a trend holds and where it is going, in words."""
    return (
        f"{Text.from_markup(_DIRECTIONS.get(trend.direction, '')).plain}, {_format_region(trend)}"
    )


def _print_trends(
    response: shard_pb2.ListTrendsResponse, titles: Mapping[str, shard_pb2.Content], hours: int
) -> None:
    history = (
        (PrintedColumn(f"last {hours} h", is_optional=True), number_column("now")) if hours else ()
    )
    columns = (
        number_column("score"),
        text_column("trend"),
        PrintedColumn(""),
        text_column("where"),
    )
    table = PrintedTable([*columns, *history, number_column("popularity", is_optional=True)])
    for each in response.trends:
        trend, hourly = each.trend, each.hourly_devices
        table.add_row(
            f"{trend.score:.1f}",
            escape(format_subject(trend, titles)),
            _DIRECTIONS.get(trend.direction, ""),
            _format_region(trend),
            *((draw_sparkline(hourly), format_count(hourly[-1])) if hours else ()),
            format_count(trend.popularity),
        )
    console = make_console()
    table.print(console)
    console.print(
        f"[dim]{pluralise(len(response.trends), 'trend') if response.trends else 'no trends yet'}[/]"
    )


def _format_region(trend: patterns_pb2.Trend) -> str:
    scope = _SCOPES.get(trend.scope, "")
    return scope if trend.region == scope else f"{escape(trend.region)}, {scope}"
