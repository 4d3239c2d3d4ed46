"""`constellation plot`: pictures of what a shard holds."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from constellation.cli.columns import to_embeddings, to_rows
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.extras import load_extra
from constellation.cli.files import open_output
from constellation.cli.flags import add_connection_flags
from constellation.cli.parsing import complete_file_names, make_number_parser
from constellation.cli.printing import format_count, pluralise, print_json
from constellation.cli.remote import open_remote
from constellation.cli.titles import format_title, look_up_contents
from constellation.commands.trends import (
    format_direction_and_region,
    format_subject,
    look_up_trend_contents,
)
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence

    from constellation.cli.columns import PatternRow
    from constellation.cli.parsing import Commands

_DEFAULT_PATTERNS: Final = 1000
_MAX_PATTERNS: Final = 2000
_MAX_HOURS: Final = 168
_DEFAULT_LINES: Final = 6
_MAX_LINES: Final = 8
_LEGEND: Final = (
    "What is near is alike (t-SNE). Diamonds: clusters. Colours: the nearest cluster; grey: one of "
    "the smaller"
)
_TITLES_PER_PATTERN: Final = 6
"""Of one pattern, on hover."""


def add_plot(commands: Commands) -> None:
    group = commands.add_group("plot", "draw what a shard holds: patterns or trends")
    patterns = group.add(
        "patterns",
        plot_patterns,
        "draw a map of patterns and clusters: what is near is alike",
        details="A colour is the nearest cluster, a diamond a cluster, named by its first title. "
        "HTML shows titles, genres and success under the pointer, and needs no network.",
        examples=("map.png", "map.html --limit 2000"),
    )
    _add_file_argument(patterns)
    patterns.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_PATTERNS, is_integer=True),
        default=_DEFAULT_PATTERNS,
        metavar="N",
        help="patterns to pick (default: %(default)s)",
    )
    add_connection_flags(patterns)
    trends = group.add(
        "trends",
        plot_trends,
        "draw the devices behind the strongest trends, hour by hour",
        examples=("week.png", "day.html --hours 24 --limit 8"),
    )
    _add_file_argument(trends)
    trends.add_argument(
        "--hours",
        type=make_number_parser(2, _MAX_HOURS, is_integer=True),
        default=_MAX_HOURS,
        metavar="N",
        help="hours of history (default: %(default)s)",
    )
    trends.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_LINES, is_integer=True),
        default=_DEFAULT_LINES,
        metavar="N",
        help="contents, and genres, at most (default: %(default)s)",
    )
    add_connection_flags(trends)


async def plot_patterns(options: Namespace) -> int:
    """Draw the map of a shard's patterns."""
    pattern_map: Any = load_extra("constellation.plots.pattern_map", "plot")
    async with open_remote(options) as remote:
        info = await remote.call(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
        sample = await remote.call(
            remote.shard.SamplePatterns, shard_pb2.SamplePatternsRequest(limit=options.limit)
        )
        response = await remote.call(remote.shard.ListClusters, shard_pb2.ListClustersRequest())
        rows, clusters = to_rows(sample.patterns), to_rows(response.clusters)
        shown = [
            each for row in (*clusters, *rows) for each in row.content_ids[:_TITLES_PER_PATTERN]
        ]
        titles = await look_up_contents(remote, shown)
    if not rows:
        raise CommandError(f"{remote.address} has no patterns that it may show: nothing to draw")
    cluster_summary = (
        f"{pluralise(len(clusters), 'cluster')} of round {response.round_id}"
        if clusters
        else "no clusters yet"
    )
    picture = pattern_map.draw_patterns(
        pattern_map.PointGroup(rows, _join_titles(rows, titles), to_embeddings(sample.patterns)),
        pattern_map.PointGroup(
            clusters, _join_titles(clusters, titles), to_embeddings(response.clusters)
        ),
        f"Patterns of {info.region}",
        [
            (
                f"{format_count(len(rows))} of {pluralise(sample.population, 'pattern')} and {cluster_summary}, "
                f"shard {info.shard_id}, {_format_now()}"
            ),
            _LEGEND if clusters else "What is near is alike (t-SNE)",
        ],
        is_html=options.file.endswith(".html"),
    )
    _write_picture(options, picture, {"patterns": len(rows), "clusters": len(clusters)})
    return SUCCESS


async def plot_trends(options: Namespace) -> int:
    """Draw the history of a shard's trends."""
    trend_lines: Any = load_extra("constellation.plots.trend_lines", "plot")
    async with open_remote(options) as remote:
        info = await remote.call(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
        stats = await remote.call(remote.shard.GetStats, shard_pb2.GetStatsRequest())
        response = await remote.call(
            remote.shard.ListTrends, shard_pb2.ListTrendsRequest(hours=options.hours)
        )
        titles = await look_up_trend_contents(remote, response)
    drawable = [each for each in response.trends if any(each.hourly_devices)]
    panels = [
        trend_lines.PlotPanel(
            name,
            [
                trend_lines.PlotLine(
                    each.trend.genre or format_subject(each.trend, titles),
                    list(each.hourly_devices),
                    format_direction_and_region(each.trend),
                )
                for each in drawable
                if each.trend.WhichOneof("subject") == kind
            ][: options.limit],
        )
        for name, kind in (("Contents", "content_id"), ("Genres", "genre"))
    ]
    panels = [panel for panel in panels if panel.lines]
    if not panels:
        raise CommandError(
            f"{remote.address} serves {pluralise(len(response.trends), 'trend')}, none with enough devices "
            f"of its own in the last {options.hours} hours: nothing to draw"
        )
    round_summary = f"round {stats.round_id}" if stats.round_id else "no round yet"
    drawn = sum(len(panel.lines) for panel in panels)
    picture = trend_lines.draw_trends(
        panels,
        response.newest_hour,
        f"Trends of {info.region}",
        [
            (
                f"Devices of shard {info.shard_id} in each of the last {options.hours} hours "
                "(UTC); hours of fewer than K_ANONYMITY devices count as none"
            ),
            (
                f"{drawn} of {pluralise(len(response.trends), 'trend')}, the strongest with devices here; "
                f"{round_summary}, {_format_now()}"
            ),
        ],
        is_html=options.file.endswith(".html"),
    )
    _write_picture(options, picture, {"trends": drawn})
    return SUCCESS


def _add_file_argument(parser: ArgumentParser) -> None:
    complete_file_names(
        parser.add_argument(
            "file", type=_parse_picture_name, metavar="FILE", help="where to: OUT.png or OUT.html"
        )
    )


def _parse_picture_name(name: str) -> str:
    if not name.endswith((".png", ".html")):
        raise ArgumentTypeError(f"must end in .png or .html, got {name!r}")
    return name


def _join_titles(rows: Sequence[PatternRow], titles: Mapping[str, shard_pb2.Content]) -> list[str]:
    """Return the first titles of each row; its genres when it has no contents."""
    return [
        "; ".join(format_title(each, titles) for each in row.content_ids[:_TITLES_PER_PATTERN])
        or ", ".join(row.genres)
        or "no titles"
        for row in rows
    ]


def _format_now() -> str:
    return f"{datetime.now(UTC):%d %B %Y %H:%M} UTC"


def _write_picture(options: Namespace, picture: bytes, drawn: Mapping[str, int]) -> None:
    with open_output(options.file) as file:
        file.write(picture)
    if options.json:
        print_json({"file": options.file, **drawn})
    else:
        summary = " and ".join(
            pluralise(number, name.removesuffix("s")) for name, number in drawn.items()
        )
        print(f"{options.file}: {summary}")
