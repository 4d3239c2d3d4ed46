"""`constellation plot`: plot a shard's patterns or trends as PNG or HTML."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from constellation.cli.columns import to_embeddings, to_rows
from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.extras import load_extra
from constellation.cli.files import open_output
from constellation.cli.parsing import complete_file_names, make_number_parser
from constellation.cli.printing import format_count, pluralise, print_json, print_line
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
_MAX_PATTERNS: Final = 1000
_MAX_HOURS: Final = 168
_DEFAULT_LINES: Final = 6
_MAX_LINES: Final = 8
_LEGEND: Final = "Similar patterns are close together (t-SNE)"
_CLUSTER_LEGEND: Final = "Diamonds: clusters. Colours: the nearest cluster; grey: a smaller one"
_TITLES_PER_PATTERN: Final = 6
"""Titles that an HTML page shows of one pattern on hover."""


def add_plot(commands: Commands) -> None:
    group = commands.add_group("plot", "plot a shard's patterns or trends")
    _add_plot_patterns(group)
    _add_plot_trends(group)


def _add_plot_patterns(group: Commands) -> None:
    parser = group.add(
        "patterns",
        plot_patterns,
        "plot a map of patterns and clusters, similar ones close together",
        details="The colour of a pattern shows its nearest cluster; a diamond is a cluster, "
        "labelled with its first title. The HTML page shows titles, genres and success rate on "
        "hover, and works offline. Needs the extra `plot`.",
        examples=("map.png", "map.html --limit 1000"),
    )
    _add_file_argument(parser)
    parser.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_PATTERNS, is_integer=True),
        default=_DEFAULT_PATTERNS,
        metavar="N",
        help=f"sample N patterns, from 1 to {_MAX_PATTERNS} (default: %(default)s)",
    )
    add_connection_flags(parser)


def _add_plot_trends(group: Commands) -> None:
    parser = group.add(
        "trends",
        plot_trends,
        "plot the hourly number of devices of the strongest trends",
        details="Plots content items and genres that have devices on this shard. Needs the extra "
        "`plot`.",
        examples=("week.png", "day.html --hours 24 --limit 8"),
    )
    _add_file_argument(parser)
    parser.add_argument(
        "--hours",
        type=make_number_parser(2, _MAX_HOURS, is_integer=True),
        default=_MAX_HOURS,
        metavar="N",
        help=f"hours of history, from 2 to {_MAX_HOURS} (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=make_number_parser(1, _MAX_LINES, is_integer=True),
        default=_DEFAULT_LINES,
        metavar="N",
        help="plot at most N content items, and at most N genres, "
        f"from 1 to {_MAX_LINES} (default: %(default)s)",
    )
    add_connection_flags(parser)


async def plot_patterns(options: Namespace) -> int:
    """Plot the map of a shard's patterns. Raises CommandError when there is nothing to plot."""
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
        contents = await look_up_contents(remote, shown)
    if not rows:
        raise CommandError(f"{remote.address} has no shareable patterns yet: nothing to plot")
    cluster_summary = (
        f"{pluralise(len(clusters), 'cluster')} of round {response.round_id}"
        if clusters
        else "no clusters yet"
    )
    sample_summary = f"{format_count(len(rows))} of {pluralise(sample.population, 'pattern')}"
    picture = pattern_map.draw_patterns(
        pattern_map.PointGroup(rows, _join_titles(rows, contents), to_embeddings(sample.patterns)),
        pattern_map.PointGroup(
            clusters, _join_titles(clusters, contents), to_embeddings(response.clusters)
        ),
        f"Patterns of {info.region}",
        [
            f"{sample_summary} and {cluster_summary}, shard {info.shard_id}, {_format_now()}",
            f"{_LEGEND}. {_CLUSTER_LEGEND}" if clusters else _LEGEND,
        ],
        is_html=options.file.endswith(".html"),
    )
    _write_picture(options, picture, {"patterns": len(rows), "clusters": len(clusters)})
    return SUCCESS


async def plot_trends(options: Namespace) -> int:
    """Plot the history of a shard's trends. Raises CommandError when there is nothing to plot."""
    trend_lines: Any = load_extra("constellation.plots.trend_lines", "plot")
    async with open_remote(options) as remote:
        info = await remote.call(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
        stats = await remote.call(remote.shard.GetStats, shard_pb2.GetStatsRequest())
        response = await remote.call(
            remote.shard.ListTrends, shard_pb2.ListTrendsRequest(hours=options.hours)
        )
        contents = await look_up_trend_contents(remote, response)
    panels = [
        panel
        for title, kind in (("Content items", "content_id"), ("Genres", "genre"))
        if (
            panel := trend_lines.PlotPanel(
                title, _make_lines(trend_lines, response, contents, kind)[: options.limit]
            )
        ).lines
    ]
    trend_count = pluralise(len(response.trends), "trend")
    if not panels:
        raise CommandError(
            f"{remote.address} has {trend_count}, none with at least K_ANONYMITY devices on this "
            f"shard in the last {options.hours} hours: nothing to plot"
        )
    line_count = sum(len(panel.lines) for panel in panels)
    devices_line = (
        f"Devices of shard {info.shard_id} in each of the last {options.hours} hours (UTC); "
        "hours with fewer than K_ANONYMITY devices count as 0"
    )
    round_summary = f"round {stats.round_id}" if stats.round_id else "no round yet"
    trends_line = (
        f"{line_count} of {trend_count}, the strongest with devices on this shard; "
        f"{round_summary}, {_format_now()}"
    )
    picture = trend_lines.draw_trends(
        panels,
        response.newest_hour,
        f"Trends of {info.region}",
        [devices_line, trends_line],
        is_html=options.file.endswith(".html"),
    )
    _write_picture(options, picture, {"trends": line_count})
    return SUCCESS


def _make_lines(
    trend_lines: Any,
    response: shard_pb2.ListTrendsResponse,
    contents: Mapping[str, shard_pb2.Content],
    kind: str,
) -> list[Any]:
    """Return a line for each trend of a kind that has devices on this shard."""
    return [
        trend_lines.PlotLine(
            each.trend.genre or format_subject(each.trend, contents),
            list(each.hourly_devices),
            format_direction_and_region(each.trend),
        )
        for each in response.trends
        if each.trend.WhichOneof("subject") == kind and any(each.hourly_devices)
    ]


def _add_file_argument(parser: ArgumentParser) -> None:
    complete_file_names(
        parser.add_argument(
            "file", type=_parse_picture_name, metavar="FILE", help="output file, .png or .html"
        )
    )


def _parse_picture_name(name: str) -> str:
    if not name.endswith((".png", ".html")):
        raise ArgumentTypeError(f"must end in .png or .html, got {name!r}")
    return name


def _join_titles(
    rows: Sequence[PatternRow], contents: Mapping[str, shard_pb2.Content]
) -> list[str]:
    """Return the first titles of each row; its genres when it has no content items."""
    return [
        "; ".join(format_title(each, contents) for each in row.content_ids[:_TITLES_PER_PATTERN])
        or ", ".join(row.genres)
        or "no titles"
        for row in rows
    ]


def _format_now() -> str:
    return f"{datetime.now(UTC):%d %B %Y %H:%M} UTC"


def _write_picture(options: Namespace, picture: bytes, counts: Mapping[str, int]) -> None:
    """Write the picture, and print how many of each thing it shows."""
    with open_output(options.file) as file:
        file.write(picture)
    if options.json:
        print_json({"file": options.file, **counts})
    else:
        summary = " and ".join(
            pluralise(count, name.removesuffix("s")) for name, count in counts.items()
        )
        print_line(f"{options.file}: {summary}")
