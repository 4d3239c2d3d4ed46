"""The tables of docs/quality.md, between markers, and their replacement."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quality.baselines import POPULARITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quality.privacy import PrivacyResult, PrivacyRow
    from quality.results import ChainResult, LossesResult, Row

PAGE: Final = Path(__file__).parents[1] / "docs" / "quality.md"
COMMAND: Final = "make quality"
"""Writes the blocks of the page."""
_KIB: Final = 1024


def find_popularity(result: ChainResult) -> float:
    """Return the NDCG of the list of popular films, which everything is compared with."""
    return next(row.quality.ndcg for row in result.baselines if row.name == POPULARITY)


def format_chain(result: ChainResult) -> str:
    """Return the tables of the whole system: quality, cold start, traffic."""
    popularity = find_popularity(result)
    head = (
        f"{result.households} households, {result.split} split. "
        "± is the standard error over households."
    )
    return "\n\n".join(
        [
            head,
            _format_rows([*result.baselines, *result.devices], popularity),
            _introduce_curve(result),
            _format_curve(result),
            _format_traffic(result),
        ]
    )


def _format_rows(rows: Sequence[Row], popularity: float) -> str:
    lines = [
        f"| {row.label} | {row.quality.ndcg:.3f} ± {row.quality.ndcg_error:.3f} "
        f"| {row.quality.ndcg / popularity:.2f} | {row.quality.recall:.3f} "
        f"| {row.quality.hit_rate:.3f} | {row.quality.coverage:.1%} |"
        for row in rows
    ]
    head = "who recommends | NDCG@10 | times popularity | recall@10 | hit@10 | coverage@10"
    return _format_table(head, lines)


def _introduce_curve(result: ChainResult) -> str:
    newcomers = result.curve[0].quality.households
    return (
        f"{newcomers} newcomers; the other devices are complete. What is popular with the others "
        f"reaches {result.newcomer_popularity.ndcg:.3f} for them."
    )


def _format_curve(result: ChainResult) -> str:
    lines = [
        f"| {point.views} | {point.quality.ndcg:.3f} ± {point.quality.ndcg_error:.3f} "
        f"| {point.quality.ndcg / result.newcomer_popularity.ndcg:.2f} "
        f"| {point.ceiling.ndcg / result.newcomer_popularity.ndcg:.2f} "
        f"| {point.quality.recall:.3f} | {point.quality.hit_rate:.3f} |"
        for point in result.curve
    ]
    head = "views | NDCG@10 | times popularity | ceiling | recall@10 | hit@10"
    return _format_table(head, lines)


def _format_traffic(result: ChainResult) -> str:
    lines = [
        f"| {row.label} | {row.devices} | {row.up_bytes / _KIB:.1f} KiB "
        f"| {row.down_bytes / _KIB:.1f} KiB |"
        for row in result.traffic
    ]
    return _format_table("for each device | devices | up | down", lines)


def format_losses(result: LossesResult) -> str:
    """Return one table of all economies."""
    best = result.losses[0].quality.ndcg
    lines = []
    for economy, group in groupby(result.losses, key=lambda loss: loss.economy):
        for number, loss in enumerate(group):
            lines.append(
                f"| {'' if number else economy} | {loss.value} | {loss.quality.ndcg:.4f} "
                f"| {loss.quality.ndcg / best - 1:+.1%} | {loss.quality.coverage:.1%} |"
            )
    count = result.losses[0].quality.households
    head = f"{count} households, {result.split} split."
    return f"{head}\n\n" + _format_table(
        "what | value | NDCG@10 | against EASE | coverage@10", lines
    )


def format_privacy(result: PrivacyResult) -> str:
    """Return the table of sizes and epsilons, then that of choices."""
    lines = []
    for devices, group in groupby(result.rows, key=lambda row: row.devices):
        rows = list(group)
        exact = next(row.related.ndcg for row in rows if row.epsilon is None)
        lines += [
            f"| {'' if number else f'{devices:,}'} | {row.liked} | {_name_epsilon(row)} | "
            f"{row.contents:,} | {_format_noise(row)} | {_format_ndcg(row.related.ndcg, exact)} "
            f"| {row.popular.ndcg:.3f} |"
            for number, row in enumerate(rows)
        ]
    head = (
        "devices | liked of each | epsilon | content items | noise of likes, pairs "
        "| related: NDCG@10 | popular: NDCG@10"
    )
    return "\n\n".join(
        [
            f"{result.households} households, {result.split} split.",
            _format_table(head, lines),
            _introduce_choices(result),
            _format_choices(result),
        ]
    )


def _introduce_choices(result: PrivacyResult) -> str:
    first = result.choices[0]
    return (
        f"What could be chosen otherwise, for {first.devices:,} devices and epsilon "
        f"{first.epsilon:g}, on the validation split:"
    )


def _format_choices(result: PrivacyResult) -> str:
    shipped = result.choices[0].related.ndcg
    lines = [
        f"| {row.label} | {row.contents:,} | {_format_noise(row)} "
        f"| {_format_ndcg(row.related.ndcg, shipped)} |"
        for row in result.choices
    ]
    return _format_table("what | content items | noise of likes, pairs | related: NDCG@10", lines)


def _name_epsilon(row: PrivacyRow) -> str:
    return "no noise" if row.epsilon is None else f"{row.epsilon:g}"


def _format_noise(row: PrivacyRow) -> str:
    return f"{row.likes_noise:.0f}, {row.pairs_noise:.0f}" if row.pairs_noise else ""


def _format_ndcg(ndcg: float, baseline: float) -> str:
    return f"{ndcg:.3f} ({ndcg / baseline:.2f} x)" if ndcg else "nothing"


def _format_table(head: str, lines: Iterable[str]) -> str:
    rule = "|".join("---" for _ in head.split("|"))
    return "\n".join([f"| {head} |", f"|{rule}|", *lines])
