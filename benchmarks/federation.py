"""The cost of a federation: its merge, its rounds, and the aggregates of its shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import ingest_aggregates, merge, rounds

if TYPE_CHECKING:
    from benchmarks.report import Measurement


def measure() -> list[Measurement]:
    """Run all three benchmarks in turn."""
    return [*merge.measure(), *rounds.measure(), *ingest_aggregates.measure()]
