"""Durable syncs per second of a shard that forms shared patterns all the time, and never.

Every delta has a new pattern, and an epoch begins every three seconds instead of every five
minutes, so each run has one or two epochs over all patterns that have come: far more than a fleet
whose devices mostly update the patterns that they have.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.delta_runs import SETTINGS, compare_syncs, run_delta_load
from benchmarks.shard_process import make_folder, start_shard

if TYPE_CHECKING:
    from benchmarks.delta_load import DeltaLoadResult
    from benchmarks.report import Measurement

_TURNS: Final = 5
_SECONDS: Final = 3
_NEVER_SECONDS: Final = 86_400


def measure() -> list[Measurement]:
    """Compare the same load with epochs of three seconds and of a day."""
    return [
        compare_syncs(
            "ingest_grouping_vs_without",
            "the same without an epoch",
            _TURNS,
            (partial(_measure_side, _SECONDS), partial(_measure_side, _NEVER_SECONDS)),
        )
    ]


def _measure_side(epoch_seconds: int) -> DeltaLoadResult:
    settings = {**SETTINGS, "shared_patterns_seconds": epoch_seconds}
    with make_folder() as data_dir, start_shard(data_dir=data_dir, **settings) as started:
        return run_delta_load(started.server)
