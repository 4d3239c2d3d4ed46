"""Whole rounds over 100 shards: pull, merge, journal and publish, over real gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import uvloop

from benchmarks.report import Measurement, compare
from benchmarks.shard_process import make_folder
from benchmarks.synthetic_aggregates import CLUSTERS, make_codebook
from constellation.config import Addresses, Count
from constellation.encoding import DIMENSION
from constellation.telemetry.logs import set_up_logs
from federation.config import FederationConfig
from federation.journal.contract import RoundOutput, RoundRecord
from federation.journal.open import open_journal
from federation.merge.published_clusters import RoundStamp
from federation.merge.result import ModelState, RoundResult
from federation.messages import serialise_model_state, serialise_report, serialise_result
from federation.round_report import Coverage, RoundReport, RoundState
from federation.server import open_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SHARDS: Final = 100
_PROCESSES: Final = 2
_REPETITIONS: Final = 3
_TARGET_SECONDS: Final = 6.0
_SUMS_MB: Final = SHARDS * CLUSTERS * DIMENSION * 8 / 1e6


@dataclass(frozen=True, slots=True)
class RoundTiming:
    """The seconds of one round as its caller sees them, and of each step."""

    seconds: float
    pull: float
    merge: float
    publish: float
    pulled_mb: float
    global_mb: float

    @property
    def journal(self) -> float:
        """The remaining seconds: the journal, with the beginning and the end of the round."""
        return self.seconds - self.pull - self.merge - self.publish


def measure() -> list[Measurement]:
    """Run a first round, which pulls everything, and the next round, several times."""
    set_up_logs("warning")
    pairs = sorted((_measure_pair() for _ in range(_REPETITIONS)), key=lambda pair: pair[0].seconds)
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


def _measure_pair() -> Sequence[RoundTiming]:
    with ExitStack() as stack:
        data_dir = stack.enter_context(make_folder())
        generation = uvloop.run(_prepare_journal(data_dir))
        each = SHARDS // _PROCESSES
        ports = [
            port
            for processes in [
                stack.enter_context(_start_shards(number * each, each, generation))
                for number in range(_PROCESSES)
            ]
            for port in processes
        ]
        return uvloop.run(_run_rounds([f"127.0.0.1:{port}" for port in ports], data_dir))


@contextmanager
def _start_shards(first_id: int, count: int, generation: int) -> Iterator[list[int]]:
    """Serve some shards in one process during the block; yield their ports."""
    numbers = map(str, (first_id, count, generation))
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.aggregate_servers", *numbers],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            ports: list[int] = json.loads(process.stdout.readline())
            yield ports
        finally:
            process.terminate()


async def _run_rounds(addresses: Sequence[str], data_dir: Path) -> Sequence[RoundTiming]:
    config = FederationConfig(
        shard_addrs=Addresses(tuple(addresses)),
        data_dir=data_dir,
        patterns_per_shard=Count(CLUSTERS),
    )
    async with open_rounds(config) as (rounds, _):
        await rounds.resume()
        timings = []
        for _ in range(2):
            started = time.monotonic()
            report = await rounds.run()
            timings.append(_to_timing(report, time.monotonic() - started))
    return timings


async def _prepare_journal(data_dir: Path) -> int:
    """Write the journal of a federation with a published codebook; return its generation."""
    anchors, now = make_codebook(), time.time()
    memory = ModelState(anchors, now)
    result = RoundResult(anchors, {}, (), (), memory)
    async with open_journal(data_dir, None) as journal:
        await journal.become_active()
        generation = await journal.read_generation()
        payload = serialise_result(result, RoundStamp(generation, 1, int(now)), Coverage())
        outcome = RoundOutput(payload, serialise_model_state(memory), {})
        await journal.begin_round(_make_record(RoundState.PULLING, generation, now))
        await journal.save_result(_make_record(RoundState.PUBLISHING, generation, now), outcome)
        await journal.close_round(_make_record(RoundState.PUBLISHED, generation, now))
    return generation


def _make_record(state: RoundState, generation: int, now: float) -> RoundRecord:
    report = RoundReport(round_id=1, generation=generation, state=state, started_at=now)
    return RoundRecord(1, state, now, serialise_report(report))


def _to_timing(report: RoundReport, seconds: float) -> RoundTiming:
    """Return what a round took; it must have heard every shard, and reached every one."""
    assert report.coverage is not None
    assert report.coverage.shards_fresh == SHARDS
    assert all(shard.is_published for shard in report.shards)
    assert report.cluster_count == CLUSTERS, report.cluster_count
    return RoundTiming(
        seconds,
        report.pull_seconds or 0.0,
        report.merge_seconds or 0.0,
        report.publish_seconds or 0.0,
        sum(shard.pulled_bytes for shard in report.shards) / 1e6,
        report.result_bytes / 1e6,
    )
