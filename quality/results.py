"""What an evaluation found: the values that reports, plots and documents are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quality.losses import Loss
    from quality.metrics import Quality


@dataclass(frozen=True, slots=True)
class Row:
    """One recommender and its quality."""

    name: str
    """For programs, such as "with_everything"."""
    label: str
    """For people."""
    quality: Quality


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The quality for households that are new to the fleet, after some views of their own."""

    views: int
    quality: Quality
    ceiling: Quality
    """What the best centralised model reaches for the same households after the same views."""


@dataclass(frozen=True, slots=True)
class TrafficRow:
    """Bytes between devices and shards, as a mean for one device."""

    label: str
    devices: int
    up_bytes: float
    down_bytes: float


@dataclass(frozen=True, slots=True)
class ChainResult:
    """What the whole system reached on one split, beside the centralised baselines."""

    split: str
    households: int
    baselines: Sequence[Row]
    devices: Sequence[Row]
    newcomer_popularity: Quality
    """The list that is popular with the others, for the households of `curve`."""
    curve: Sequence[CurvePoint]
    """Sorted by views."""
    traffic: Sequence[TrafficRow]


@dataclass(frozen=True, slots=True)
class LossesResult:
    """What each economy of the related content costs on one split."""

    split: str
    losses: Sequence[Loss]


@dataclass(frozen=True, slots=True)
class ShortRun:
    """The NDCG@10 that few households reached in one run."""

    with_everything: float
    new_device: float


@dataclass(frozen=True, slots=True)
class ShortResult:
    """Several runs of the short form. They differ, because ids of patterns are random."""

    split: str
    households: int
    runs: Sequence[ShortRun]

    def find_lowest(self) -> ShortRun:
        """Return the lowest value of each figure: what tests guard."""
        return ShortRun(
            with_everything=min(run.with_everything for run in self.runs),
            new_device=min(run.new_device for run in self.runs),
        )
