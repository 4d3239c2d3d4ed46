"""`constellation trends`: what is trending, and how many devices were behind it hour by hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.text import Text

from constellation.cli.exit_codes import DONE
from constellation.cli.flags import add_flags
from constellation.cli.parsing import number_from
from constellation.cli.printing import (
    count,
    make_console,
    many,
    print_json,
    sparkline,
    to_json,
)
from constellation.cli.remote import one
from constellation.cli.tables import Column, Table, number, words
from constellation.cli.titles import look_up, title_of
from constellation.v1 import patterns_pb2, shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_HOURS: Final = 24
_MAX_HOURS: Final = 168
_LIMIT: Final = 20
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
        more="With the devices behind each on this shard, hour by hour, as a line of bars, the "
        "newest last; hours of fewer than K_ANONYMITY devices count as none.",
        examples=("", "--hours 168 --limit 5", "--json | jq '.trends[].trend.content_id'"),
    )
    parser.add_argument(
        "--hours",
        type=number_from(0, _MAX_HOURS, whole=True),
        default=_HOURS,
        metavar="N",
        help="hours of history (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=number_from(0, 1e6, whole=True),
        default=_LIMIT,
        metavar="N",
        help="at most so many; 0: all (default: %(default)s)",
    )
    add_flags(parser)


async def run_trends(options: Namespace) -> int:
    """Print the trends."""
    async with one(options) as remote:
        told = await remote.ask(
            remote.shard.ListTrends,
            shard_pb2.ListTrendsRequest(limit=options.limit, hours=options.hours),
        )
        if options.json:
            print_json(to_json(told))
            return DONE
        titles = await titles_of_trends(remote, told)
    _print_trends(told, titles, options.hours)
    return DONE


async def titles_of_trends(
    remote: Remote, told: shard_pb2.ListTrendsResponse
) -> Mapping[str, shard_pb2.Content]:
    """Look the contents of trends up."""
    return await look_up(
        remote, [each.trend.content_id for each in told.trends if each.trend.content_id]
    )


def subject_of(trend: patterns_pb2.Trend, titles: Mapping[str, shard_pb2.Content]) -> str:
    """Return what a trend is of."""
    return f"genre {trend.genre}" if trend.genre else title_of(trend.content_id, titles)


def where_word(trend: patterns_pb2.Trend) -> str:
    """Return where a trend holds and where it is going, in words."""
    return f"{Text.from_markup(_DIRECTIONS.get(trend.direction, '')).plain}, {_where(trend)}"


def _print_trends(
    told: shard_pb2.ListTrendsResponse, titles: Mapping[str, shard_pb2.Content], hours: int
) -> None:
    history = (Column(f"last {hours} h", is_spare=True), number("now")) if hours else ()
    columns = (number("score"), words("trend"), Column(""), words("where"))
    table = Table([*columns, *history, number("popularity", is_spare=True)])
    for each in told.trends:
        trend, hourly = each.trend, each.hourly_devices
        table.add(
            f"{trend.score:.1f}",
            escape(subject_of(trend, titles)),
            _DIRECTIONS.get(trend.direction, ""),
            _where(trend),
            *((sparkline(hourly), count(hourly[-1])) if hours else ()),
            count(trend.popularity),
        )
    console = make_console()
    table.print(console)
    console.print(f"[dim]{many(len(told.trends), 'trend') if told.trends else 'no trends yet'}[/]")


def _where(trend: patterns_pb2.Trend) -> str:
    scope = _SCOPES.get(trend.scope, "")
    return scope if trend.region == scope else f"{escape(trend.region)}, {scope}"
