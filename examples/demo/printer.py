"""Prints the results of the demo as tables: recommendations, figures and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.markup import escape
from rich.table import Table

from constellation_settop.values import DayType, TimeOfDay
from examples.demo.comparison import RECOMMENDATION_LIMIT, TOGETHER
from examples.demo.report import find_title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from constellation_settop import Catalogue, Pattern, Recommendation
    from examples.demo.comparison import Comparison
    from examples.demo.report import Report, RoundLine

_MAX_CLUSTERS: Final = 8
_MAX_TRENDS: Final = 12
_MAX_CHOICES: Final = 10
_BAR_WIDTH: Final = 20
"""Characters of the longest bar."""


class Printer:
    """Prints a report to a console."""

    def __init__(self, console: Console, catalogue: Catalogue) -> None:
        self._console = console
        self._catalogue = catalogue

    def print_report(self, report: Report, comparison: Comparison) -> None:
        """Print every table, with one household as an example."""
        self._console.print()
        self._print_rounds(report)
        self._print_clusters(report)
        self._print_trends(report)
        self._print_new_device(report)
        self._print_comparison(comparison)
        self._print_figures(report)
        self._print_checks(report)
        self._print_quality(report)

    def _print_rounds(self, report: Report) -> None:
        title = f"Rounds of the federation of two shards, {_format_device_counts(report)}"
        shares = {"round": 6, "when": 20, "shards": 12, "devices": 8, "result": 40, "took": 8}
        table = _make_list_table(title, shares)
        for each in report.rounds:
            answered = f"{each.shards_fresh} of {each.shards_total}"
            table.add_row(
                str(each.round_id),
                each.activity,
                answered,
                f"{each.devices_fresh:,}",
                _format_result(each),
                f"{each.seconds:.2f} s",
            )
        self._console.print(table)

    def _print_clusters(self, report: Report) -> None:
        shown = report.clusters[:_MAX_CLUSTERS]
        title = f"Tastes that devices of both shards share: {len(shown)} of {len(report.clusters)}"
        shares = {"genres": 24, "devices": 9, "success": 9, "films": 58}
        table = _make_list_table(title, shares)
        for each in shown:
            titles = ", ".join(each.titles[:3]) + (
                " …" if len(each.titles) > len(each.titles[:3]) else ""
            )
            table.add_row(
                ", ".join(each.genres[:3]),
                str(each.devices),
                f"{each.success_rate:.0%}",
                escape(titles),
            )
        self._console.print(table)

    def _print_trends(self, report: Report) -> None:
        films = [each for each in report.trends if not each.is_genre]
        genres = len(report.trends) - len(films)
        shown = films[:_MAX_TRENDS] or report.trends[:_MAX_TRENDS]
        title = f"Trends of the last evening: {len(films)} films and {genres} genres"
        kind = "film" if films else "genre"
        table = _make_list_table(title, {kind: 60, "where": 14, "direction": 12, "score": 8})
        for each in shown:
            table.add_row(escape(each.title), each.scope, each.direction, f"{each.score:.2f}")
        self._console.print(table)

    def _print_new_device(self, report: Report) -> None:
        table = _make_list_table(
            f"A new television in {report.new_device_region}, {report.new_device_seconds:.1f} s "
            "after it was switched on: it has watched nothing yet",
            {"recommended": 50, "reason": 54},
        )
        for each in report.new_device[:_MAX_CHOICES]:
            table.add_row(escape(each.title), escape(each.reason))
        self._console.print(table)

    def _print_comparison(self, comparison: Comparison) -> None:
        name = f"Household {comparison.household.number}"
        self._print_patterns(f"{name}: its taste, learned on the device", comparison.patterns[:5])
        self._print_similar(
            f"{name}: films that {len(comparison.similar)} similar patterns of other households "
            "were learned from",
            comparison,
        )
        table = _make_list_table(
            f"{name}: recommended alone, and with what others learned   (* a held-out film)",
            {"alone": 33, "with what others learned": 33, "reason": 38},
        )
        for before, after in zip(
            comparison.before[:_MAX_CHOICES], comparison.after[:_MAX_CHOICES], strict=False
        ):
            table.add_row(
                self._format_choice(comparison, before),
                self._format_choice(comparison, after),
                escape(after.reason),
            )
        self._console.print(table)
        self._console.print(
            f"Of its {len(comparison.household.held_out)} held-out films, which it liked and its "
            f"device never saw, {comparison.hits_before} were among the {RECOMMENDATION_LIMIT} "
            f"recommended alone, and {comparison.hits_after} with what others learned. "
            "No household gained more.\n",
            highlight=False,
        )

    def _print_figures(self, report: Report) -> None:
        table = _make_table("Measured", "what", "value")
        for name, value in _list_figures(report).items():
            table.add_row(name, value)
        self._console.print(table)

    def _print_checks(self, report: Report) -> None:
        table = _make_table("Verified", "claim", "found", "")
        for check in report.checks:
            mark = "[green]holds[/]" if check["passed"] else "[bold red]FAILS[/]"
            table.add_row(str(check["claim"]), escape(str(check["found"])), mark)
        self._console.print(table)

    def _print_quality(self, report: Report) -> None:
        """Print how well each recommender finds what households liked later."""
        table = _make_table(
            f"What it is for: {report.households_judged} households liked films that their "
            f"device never saw. Judged are the {RECOMMENDATION_LIMIT} films that are recommended",
            "by",
            "NDCG@10",
            "a hit for",
            "",
        )
        largest = max(line.ndcg for line in report.quality)
        for line in report.quality:
            name = f"[bold]{line.name}[/]" if line.name == TOGETHER else line.name
            bar = "█" * round(line.ndcg / largest * _BAR_WIDTH) if largest else ""
            table.add_row(name, f"{line.ndcg:.3f}", f"{line.hit_rate:.0%}", bar)
        self._console.print(table)

    def _print_patterns(self, title: str, patterns: Sequence[Pattern]) -> None:
        table = _make_table(title, "learned from", "genres", "success", "when")
        for each in patterns:
            success = f"{each.success_rate:.0%} of {each.sample_count}"
            table.add_row(
                self._format_films(each), ", ".join(each.genres[:3]), success, _format_context(each)
            )
        self._console.print(table)

    def _print_similar(self, title: str, comparison: Comparison) -> None:
        shares = {"film": 66, "patterns": 10, "nearest": 10, "here": 12}
        table = _make_list_table(title, shares)
        watched = set(comparison.household.outbox.read_watched())
        for each in comparison.shared_films[:8]:
            film = escape(find_title(self._catalogue, each.content_id))
            status = "watched" if each.content_id in watched else ""
            status = (
                "[green]* held out[/]"
                if each.content_id in comparison.household.held_out
                else status
            )
            table.add_row(film, str(each.patterns), f"{each.similarity:.2f}", status)
        self._console.print(table)

    def _format_films(self, pattern: Pattern) -> str:
        titles = [find_title(self._catalogue, each) for each in pattern.content_ids[-3:]]
        more = len(pattern.content_ids) - len(titles)
        return escape(", ".join(titles) + (f" and {more} more" if more else ""))

    def _format_choice(self, comparison: Comparison, choice: Recommendation) -> str:
        title = escape(find_title(self._catalogue, choice.content_id))
        held_out = choice.content_id in comparison.household.held_out
        return f"[green]* {title}[/]" if held_out else f"  {title}"


def _format_device_counts(report: Report) -> str:
    return " and ".join(f"{devices:,}" for devices in report.devices_by_shard) + " devices"


def _format_result(line: RoundLine) -> str:
    if not line.published:
        return "[yellow]not published: no quorum[/]"
    return f"{line.anchors} anchors, {line.clusters} clusters, {line.trends} trends"


def _list_figures(report: Report) -> Mapping[str, str]:
    return {
        "devices": f"{report.devices:,}",
        "viewings replayed": f"{report.viewings:,}",
        "deltas acked / lost / applied twice": (
            f"{report.deltas_acked:,} / {report.deltas_lost} / {report.deltas_applied_twice}"
        ),
        "patterns stored": f"{report.patterns_stored:,}",
        "syncs per second, outage included": f"{report.syncs_per_second:,.0f}",
        "delta on disk at the shard, mean / p99": (
            f"{report.sync_latency_mean_ms:.1f} ms / {report.sync_latency_p99_ms:.1f} ms"
        ),
        "ack on a device, p50": f"{report.ack_p50_ms:.1f} ms",
        "stored but not acked at the kill": f"{report.deltas_stored_unacked} deltas",
        "from SIGKILL to the next ack": (
            f"{report.recovery_seconds:.2f} s (reading the store: "
            f"{report.shard_recovery_seconds:.2f} s)"
        ),
        "devices that have the last clusters": (
            f"{report.devices_with_last_clusters:,} of {report.devices:,}"
        ),
        "the whole demo": f"{report.seconds:.0f} s",
    }


def _format_context(pattern: Pattern) -> str:
    day = "" if pattern.day_type is DayType.ANY else pattern.day_type.name.lower()
    part = "any time" if pattern.time_of_day is TimeOfDay.ANY else pattern.time_of_day.name.lower()
    return f"{day} {part}".strip()


def _make_list_table(title: str, shares: Mapping[str, int]) -> Table:
    """Return a table whose rows have one line each; `shares` are the widths of its columns."""
    table = _make_table(title, *shares)
    for column, share in zip(table.columns, shares.values(), strict=True):
        column.no_wrap, column.overflow, column.ratio = True, "ellipsis", share
    return table


def _make_table(title: str, *columns: str) -> Table:
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        expand=True,
        box=box.SIMPLE_HEAD,
        show_edge=False,
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
