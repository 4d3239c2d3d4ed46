"""Whole rounds over 100 shards: pull, merge, journal and publish, over real gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.report import Measurement, compare
from benchmarks.round_runs import run_two_rounds
from benchmarks.synthetic_aggregates import CLUSTERS
from constellation.encoding import DIMENSION
from constellation.telemetry.logs import set_up_logs

if TYPE_CHECKING:
    from benchmarks.round_runs import RoundTiming

_SHARDS: Final = 100
_REPETITIONS: Final = 3
_TARGET_SECONDS: Final = 6.0
_SUMS_MB: Final = _SHARDS * CLUSTERS * DIMENSION * 8 / 1e6


def measure() -> list[Measurement]:
    """Run a first round, which pulls everything, and the next round, several times."""
    set_up_logs("warning")
    pairs = [run_two_rounds(_SHARDS) for _ in range(_REPETITIONS)]
    pairs.sort(key=lambda pair: pair[0].seconds)
    first = pairs[len(pairs) // 2][0]
    later = sorted((pair[1] for pair in pairs), key=lambda timing: timing.seconds)[len(pairs) // 2]
    baseline = "a round that pulls everything"
    return [
        compare("federation_round_seconds", first.seconds, "s", "the target", _TARGET_SECONDS),
        *_make_phase_measurements("federation_round", first),
        compare("federation_round_pulled", first.pulled_mb, "MB", "its int64 sums alone", _SUMS_MB),
        compare(
            "federation_round_global", first.global_mb, "MB", "what was pulled", first.pulled_mb
        ),
        compare("federation_next_round_seconds", later.seconds, "s", baseline, first.seconds),
        *_make_phase_measurements("federation_next_round", later),
        compare("federation_next_round_pulled", later.pulled_mb, "MB", baseline, first.pulled_mb),
    ]


def _make_phase_measurements(name: str, timing: RoundTiming) -> list[Measurement]:
    phases = {
        "pull": timing.pull,
        "merge": timing.merge,
        "settle": timing.journal,
        "publish": timing.publish,
    }
    return [
        compare(f"{name}_{phase}", seconds, "s", "the whole round", timing.seconds)
        for phase, seconds in phases.items()
    ]
