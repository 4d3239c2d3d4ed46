"""What the demo found: tables for people, and one JSON file for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from constellation_settop.state import DayType, Direction, TimeOfDay
from examples.demo.taste import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

    from constellation_settop import Catalogue, Choice, Pattern
    from constellation_settop.state import Trend
    from examples.demo.taste import Story
    from examples.demo.verify import Verdict

ARROWS = {Direction.RISING: "rising", Direction.PEAKING: "peaking", Direction.FALLING: "falling"}
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Report:
    """All of it measured in this run."""

    devices: int
    viewings: int
    deltas_acked: int
    deltas_lost: int
    deltas_applied_twice: int
    patterns_stored: int
    syncs_per_second: float
    """Acked deltas over the seconds of the replay, the time without a shard included."""
    ack_p50_ms: float
    ack_p99_ms: float
    """From a delta's frame to its ack, at the device, those after the kill included."""
    shard_latency_mean_ms: float
    """From a delta's arrival until it is on disk, as the shard measured its last minute."""
    kills: int
    deltas_stored_unacked: int
    """What the killed shard had stored and not acked: sent or asked for again, applied once."""
    recovery_seconds: float
    """From SIGKILL to the first ack of the next process."""
    shard_recovery_seconds: float
    """Reading the store back, as the next process measured it."""
    households_judged: int
    hit_rate_before: float
    """Households with a held-out film among those recommended."""
    hit_rate_popular: float
    """The same for the films most households liked, which takes everybody's ratings to know."""
    hit_rate_after: float
    trends: Sequence[dict[str, str | float]]
    checks: Sequence[dict[str, str | bool]]
    seconds: float


def share(stories: Sequence[Story], hits: Iterable[int]) -> float:
    return round(sum(count > 0 for count in hits) / max(len(stories), 1), 4)


def trend_lines(catalogue: Catalogue, trends: Sequence[Trend]) -> list[dict[str, str | float]]:
    return [
        {
            "title": title_of(catalogue, trend.subject.name),
            "score": round(trend.score, 2),
            "direction": ARROWS.get(trend.direction, ""),
        }
        for trend in trends
    ]


def check_lines(verdict: Verdict) -> list[dict[str, str | bool]]:
    return [asdict(check) for check in verdict.checks]


def write(report: Report, file: Path) -> None:
    file.write_text(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n")


def title_of(catalogue: Catalogue, content_id: str) -> str:
    row = catalogue.row(content_id)
    return catalogue.title(row) if row is not None else content_id


class Printer:
    """Prints tables of films."""

    def __init__(self, console: Console, catalogue: Catalogue) -> None:
        self._console = console
        self._catalogue = catalogue

    def trends(self, lines: Sequence[dict[str, str | float]]) -> None:
        table = _table("What trends among all households", "film", "score", "direction")
        for line in lines:
            table.add_row(
                escape(str(line["title"])), f"{line['score']:.2f}", str(line["direction"])
            )
        self._console.print(table)

    def story(self, story: Story) -> None:
        name = f"Household {story.household.number}"
        self._patterns(f"{name}: its taste, learned on the device", story.patterns[:5])
        self._similar(
            f"What {len(story.similar)} similar patterns of other households were learned from "
            "(films of five or more)",
            story,
        )
        table = _table(
            f"{name}: recommended before syncing, and after   (* held out: it did like this film)",
            "alone, before",
            "together, after",
            "reason",
        )
        for before, after in zip(story.before[:SHOWN], story.after[:SHOWN], strict=False):
            table.add_row(self._choice(story, before), self._choice(story, after), _reason(after))
        self._console.print(table)
        self._console.print(
            f"Of its {len(story.household.held_out)} held-out films, {story.hits_before} were "
            f"among the {LIMIT} recommended before syncing, {story.hits_after} after. "
            "No household gained more.\n",
            highlight=False,
        )

    def judged(self, stories: Sequence[Story], report: Report) -> None:
        gains = [story.hits_after - story.hits_before for story in stories]
        more, less = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        self._console.print(
            f"[bold]Of {len(stories)} households, a film they liked and that was held out is among "
            f"the {LIMIT} recommended: before syncing in {report.hit_rate_before:.1%}, after in "
            f"{report.hit_rate_after:.1%}.[/]\n"
            f"The {LIMIT} films liked most, the same for all, would reach "
            f"{report.hit_rate_popular:.1%}, if somebody knew everybody's ratings.\n"
            f"{more} households got more of their held-out films than before, {less} fewer.\n",
            highlight=False,
        )

    def verdict(self, verdict: Verdict) -> None:
        table = _table("Verified", "claim", "found", "")
        for check in verdict.checks:
            mark = "[green]holds[/]" if check.holds else "[bold red]FAILS[/]"
            table.add_row(check.claim, escape(check.found), mark)
        self._console.print(table)

    def figures(self, report: Report) -> None:
        table = _table("Measured", "what", "value")
        rows = {
            "devices": f"{report.devices:,}",
            "viewings replayed": f"{report.viewings:,}",
            "deltas acked / lost / applied twice": (
                f"{report.deltas_acked:,} / {report.deltas_lost} / {report.deltas_applied_twice}"
            ),
            "patterns stored": f"{report.patterns_stored:,}",
            "syncs a second, outage included": f"{report.syncs_per_second:,.0f}",
            "ack p50 / p99, at the device": (
                f"{report.ack_p50_ms:.1f} ms / {report.ack_p99_ms:.1f} ms"
            ),
            "on disk after, mean, at the shard": f"{report.shard_latency_mean_ms:.1f} ms",
            "stored, but not acked, when killed": f"{report.deltas_stored_unacked} deltas",
            "from SIGKILL to the next ack": (
                f"{report.recovery_seconds:.2f} s (reading the store back: "
                f"{report.shard_recovery_seconds:.2f} s)"
            ),
            "the whole demo": f"{report.seconds:.0f} s",
        }
        for name, value in rows.items():
            table.add_row(name, value)
        self._console.print(table)

    def _patterns(self, title: str, patterns: Sequence[Pattern]) -> None:
        table = _table(title, "learned from", "genres", "success", "when")
        for each in patterns:
            success = f"{each.success_rate:.0%} of {each.sample_count}"
            table.add_row(self._films(each), _genres(each), success, _when(each))
        self._console.print(table)

    def _similar(self, title: str, story: Story) -> None:
        table = _table(title, "film", "in patterns", "nearest", "this household")
        watched = set(story.household.outbox.watched())
        for each in story.shared_films[:8]:
            film = escape(title_of(self._catalogue, each.content_id))
            known = "has seen it" if each.content_id in watched else ""
            known = "[green]* held out[/]" if each.content_id in story.household.held_out else known
            table.add_row(film, str(each.patterns), f"{each.similarity:.2f}", known)
        self._console.print(table)

    def _films(self, pattern: Pattern) -> str:
        titles = [title_of(self._catalogue, each) for each in pattern.content_ids[-3:]]
        more = len(pattern.content_ids) - len(titles)
        return escape(", ".join(titles) + (f" and {more} more" if more else ""))

    def _choice(self, story: Story, choice: Choice) -> str:
        title = escape(title_of(self._catalogue, choice.content_id))
        held_out = choice.content_id in story.household.held_out
        return f"[green]* {title}[/]" if held_out else f"  {title}"


def _reason(choice: Choice) -> str:
    return escape(choice.reason)


def _genres(pattern: Pattern) -> str:
    return ", ".join(pattern.genres[:3])


def _when(pattern: Pattern) -> str:
    day = "" if pattern.day_type is DayType.ANY else pattern.day_type.name.lower()
    part = "any time" if pattern.time_of_day is TimeOfDay.ANY else pattern.time_of_day.name.lower()
    return f"{day} {part}".strip()


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", expand=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
