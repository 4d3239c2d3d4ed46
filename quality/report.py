"""build/quality-report.json: every figure beside its baseline, as `make bench` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.report import Measurement, compare
from quality.baselines import POPULARITY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quality.metrics import Quality
    from quality.privacy import PrivacyResult
    from quality.results import ChainResult, LossesResult, Row

REPORT: Final = Path("build/quality-report.json")
_METRICS: Final = {
    "ndcg_at_10": "ndcg",
    "recall_at_10": "recall",
    "hit_at_10": "hit_rate",
    "coverage_at_10": "coverage",
}


def list_chain_measurements(result: ChainResult) -> Sequence[Measurement]:
    """Return every figure of the whole system, beside the list of popular films."""
    popularity = next(row.quality for row in result.baselines if row.name == POPULARITY)
    rows = [*result.baselines, *result.devices]
    return [
        *(each for row in rows for each in _compare_quality(result.split, row, popularity)),
        *(
            compare(
                f"{result.split}_after_{point.views}_views_ndcg_at_10",
                point.quality.ndcg,
                "",
                "popularity",
                result.newcomer_popularity.ndcg,
            )
            for point in result.curve
        ),
        *(
            compare(f"bytes_down: {row.label}", row.down_bytes, "bytes", "up", row.up_bytes)
            for row in result.traffic
        ),
    ]


def _compare_quality(split: str, row: Row, popularity: Quality) -> Iterator[Measurement]:
    for name, attribute in _METRICS.items():
        value, baseline = getattr(row.quality, attribute), getattr(popularity, attribute)
        yield compare(f"{split}_{row.name}_{name}", value, "", POPULARITY, baseline)


def list_privacy_measurements(result: PrivacyResult) -> Sequence[Measurement]:
    """Return what each epsilon leaves of what the same fleet reaches without noise."""
    exact = {row.devices: row.related.ndcg for row in result.rows if row.epsilon is None}
    return [
        compare(
            f"{result.split}_{row.devices}_devices_epsilon_{row.epsilon:g}_ndcg_at_10",
            row.related.ndcg,
            "",
            "without noise",
            exact[row.devices],
        )
        for row in result.rows
        if row.epsilon is not None
    ]


def list_loss_measurements(result: LossesResult) -> Sequence[Measurement]:
    """Return what each recipe reaches, beside EASE without economies."""
    best = result.losses[0].quality.ndcg
    return [
        compare(
            f"{result.split}_{loss.economy}_{loss.value}_ndcg_at_10".replace(" ", "_"),
            loss.quality.ndcg,
            "",
            "EASE",
            best,
        )
        for loss in result.losses
    ]
