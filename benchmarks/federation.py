"""What a federation costs: its merge, its rounds, and what shards pay for summing up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import ingest_aggregates, merge, rounds

if TYPE_CHECKING:
    from benchmarks.report import Measurement


def measure() -> list[Measurement]:
    """Measure all three, one after the other."""
    return [*merge.measure(), *rounds.measure(), *ingest_aggregates.measure()]
