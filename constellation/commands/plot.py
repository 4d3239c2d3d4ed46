"""`constellation plot`: pictures of what a shard holds."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from constellation.cli.columns import to_embeddings, to_rows
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import DONE
from constellation.cli.extras import load_extra
from constellation.cli.files import written
from constellation.cli.flags import add_flags
from constellation.cli.parsing import completes_files, number_from
from constellation.cli.printing import count, many, print_json
from constellation.cli.remote import one
from constellation.cli.titles import look_up, title_of
from constellation.commands.trends import subject_of, titles_of_trends, where_word
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence

    from constellation.cli.columns import Row
    from constellation.cli.parsing import Commands

_SAMPLE: Final = 1000
_MAX_SAMPLE: Final = 2000
_HOURS: Final = 168
_LINES: Final = 6
_MAX_LINES: Final = 8
_LEGEND: Final = (
    "What is near is alike (t-SNE). Diamonds: clusters. Colours: the nearest cluster; grey: one of "
    "the smaller"
)
_TITLES: Final = 6
"""Of one pattern, on hover."""


def add_plot(commands: Commands) -> None:
    group = commands.group("plot", "draw what a shard holds: patterns or trends")
    patterns = group.add(
        "patterns",
        plot_patterns,
        "draw a map of patterns and clusters: what is near is alike",
        more="A colour is the nearest cluster, a diamond a cluster, named by its first title. "
        "HTML shows titles, genres and success under the pointer, and needs no network.",
        examples=("map.png", "map.html --limit 2000"),
    )
    _add_file(patterns)
    patterns.add_argument(
        "--limit",
        type=number_from(1, _MAX_SAMPLE, whole=True),
        default=_SAMPLE,
        metavar="N",
        help="patterns to pick (default: %(default)s)",
    )
    add_flags(patterns)
    trends = group.add(
        "trends",
        plot_trends,
        "draw the devices behind the strongest trends, hour by hour",
        examples=("week.png", "day.html --hours 24 --limit 8"),
    )
    _add_file(trends)
    trends.add_argument(
        "--hours",
        type=number_from(2, _HOURS, whole=True),
        default=_HOURS,
        metavar="N",
        help="hours of history (default: %(default)s)",
    )
    trends.add_argument(
        "--limit",
        type=number_from(1, _MAX_LINES, whole=True),
        default=_LINES,
        metavar="N",
        help="contents, and genres, at most (default: %(default)s)",
    )
    add_flags(trends)


async def plot_patterns(options: Namespace) -> int:
    """Draw the map of a shard's patterns."""
    maps: Any = load_extra("constellation.plots.pattern_map", "plot")
    async with one(options) as remote:
        info = await remote.ask(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
        sample = await remote.ask(
            remote.shard.SamplePatterns, shard_pb2.SamplePatternsRequest(limit=options.limit)
        )
        told = await remote.ask(remote.shard.ListClusters, shard_pb2.ListClustersRequest())
        rows, clusters = to_rows(sample.patterns), to_rows(told.clusters)
        shown = [each for row in (*clusters, *rows) for each in row.content_ids[:_TITLES]]
        titles = await look_up(remote, shown)
    if not rows:
        raise CommandError(f"{remote.address} has no patterns that it may show: nothing to draw")
    of_round = (
        f"{many(len(clusters), 'cluster')} of round {told.round_id}"
        if clusters
        else "no clusters yet"
    )
    picture = maps.draw_patterns(
        maps.Group(rows, _names(rows, titles), to_embeddings(sample.patterns)),
        maps.Group(clusters, _names(clusters, titles), to_embeddings(told.clusters)),
        f"Patterns of {info.region}",
        [
            (
                f"{count(len(rows))} of {many(sample.population, 'pattern')} and {of_round}, "
                f"shard {info.shard_id}, {_now()}"
            ),
            _LEGEND if clusters else "What is near is alike (t-SNE)",
        ],
        is_html=options.file.endswith(".html"),
    )
    _write(options, picture, {"patterns": len(rows), "clusters": len(clusters)})
    return DONE


async def plot_trends(options: Namespace) -> int:
    """Draw the history of a shard's trends."""
    lines: Any = load_extra("constellation.plots.trend_lines", "plot")
    async with one(options) as remote:
        info = await remote.ask(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
        stats = await remote.ask(remote.shard.GetStats, shard_pb2.GetStatsRequest())
        told = await remote.ask(
            remote.shard.ListTrends, shard_pb2.ListTrendsRequest(hours=options.hours)
        )
        titles = await titles_of_trends(remote, told)
    drawable = [each for each in told.trends if any(each.hourly_devices)]
    panels = [
        lines.Panel(
            name,
            [
                lines.Line(
                    each.trend.genre or subject_of(each.trend, titles),
                    list(each.hourly_devices),
                    where_word(each.trend),
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
            f"{remote.address} serves {many(len(told.trends), 'trend')}, none with enough devices "
            f"of its own in the last {options.hours} hours: nothing to draw"
        )
    of_round = f"round {stats.round_id}" if stats.round_id else "no round yet"
    drawn = sum(len(panel.lines) for panel in panels)
    picture = lines.draw_trends(
        panels,
        told.newest_hour,
        f"Trends of {info.region}",
        [
            (
                f"Devices of shard {info.shard_id} in each of the last {options.hours} hours "
                "(UTC); hours of fewer than K_ANONYMITY devices count as none"
            ),
            (
                f"{drawn} of {many(len(told.trends), 'trend')}, the strongest with devices here; "
                f"{of_round}, {_now()}"
            ),
        ],
        is_html=options.file.endswith(".html"),
    )
    _write(options, picture, {"trends": drawn})
    return DONE


def _add_file(parser: ArgumentParser) -> None:
    completes_files(
        parser.add_argument(
            "file", type=_picture, metavar="FILE", help="where to: OUT.png or OUT.html"
        )
    )


def _picture(name: str) -> str:
    if not name.endswith((".png", ".html")):
        raise ArgumentTypeError(f"must end in .png or .html, got {name!r}")
    return name


def _names(rows: Sequence[Row], titles: Mapping[str, shard_pb2.Content]) -> list[str]:
    """Return the first titles of each row; its genres when it has no contents."""
    return [
        "; ".join(title_of(each, titles) for each in row.content_ids[:_TITLES])
        or ", ".join(row.genres)
        or "no titles"
        for row in rows
    ]


def _now() -> str:
    return f"{datetime.now(UTC):%d %B %Y %H:%M} UTC"


def _write(options: Namespace, picture: bytes, drawn: Mapping[str, int]) -> None:
    with written(options.file) as file:
        file.write(picture)
    if options.json:
        print_json({"file": options.file, **drawn})
    else:
        told = " and ".join(many(number, name.removesuffix("s")) for name, number in drawn.items())
        print(f"{options.file}: {told}")
