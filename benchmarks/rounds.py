"""Whole rounds over 100 shards: pulled, merged, made durable and published over real gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import uvloop

from benchmarks.report import Measurement
from benchmarks.shard_process import make_folder
from benchmarks.synthetic_aggregates import CLUSTERS, make_codebook
from constellation.config import Addresses, Count
from constellation.encoding import DIMENSION
from constellation.telemetry.logs import set_up_logs
from constellation.v1 import aggregates_pb2, federation_pb2
from federation.config import FederationConfig
from federation.journal.contract import RoundOutput, RoundRecord, RoundState
from federation.journal.open import open_journal
from federation.merge.result import ModelState, RoundResult
from federation.messages import from_model_state, from_result
from federation.server import open_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from google.protobuf.duration_pb2 import Duration

SHARDS: Final = 100
_PROCESSES: Final = 2
_REPETITIONS: Final = 3
_TARGET_SECONDS: Final = 10.0
_SUMS_MB: Final = SHARDS * CLUSTERS * DIMENSION * 8 / 1e6


@dataclass(frozen=True, slots=True)
class RoundTiming:
    """One round, as long as its caller waited, and where that went."""

    seconds: float
    pull: float
    merge: float
    publish: float
    pulled_mb: float
    global_mb: float

    @property
    def journal(self) -> float:
        """What is left: the journal, beginning and closing included."""
        return self.seconds - self.pull - self.merge - self.publish


def measure() -> list[Measurement]:
    """Run a first round, which pulls everything, and the next one, several times over."""
    set_up_logs("warning")
    pairs = sorted((_measure_pair() for _ in range(_REPETITIONS)), key=lambda pair: pair[0].seconds)
    whole = pairs[len(pairs) // 2][0]
    later = sorted((pair[1] for pair in pairs), key=lambda timed: timed.seconds)[len(pairs) // 2]
    baseline_name = "a round that pulls everything"
    return [
        Measurement(
            "federation_round_seconds",
            whole.seconds,
            "s",
            "the target",
            _TARGET_SECONDS,
            whole.seconds / _TARGET_SECONDS,
        ),
        *_make_phase_measurements("federation_round", whole),
        _make_measurement(
            "federation_round_pulled", whole.pulled_mb, "MB", ("its int64 sums alone", _SUMS_MB)
        ),
        _make_measurement(
            "federation_round_global", whole.global_mb, "MB", ("what was pulled", whole.pulled_mb)
        ),
        _make_measurement(
            "federation_next_round_seconds", later.seconds, "s", (baseline_name, whole.seconds)
        ),
        *_make_phase_measurements("federation_next_round", later),
        _make_measurement(
            "federation_next_round_pulled", later.pulled_mb, "MB", (baseline_name, whole.pulled_mb)
        ),
    ]


def _make_phase_measurements(name: str, timed: RoundTiming) -> list[Measurement]:
    parts = {
        "pull": timed.pull,
        "merge": timed.merge,
        "settle": timed.journal,
        "publish": timed.publish,
    }
    whole = ("the whole round", timed.seconds)
    return [
        _make_measurement(f"{name}_{part}", seconds, "s", whole) for part, seconds in parts.items()
    ]


def _make_measurement(
    name: str, value: float, unit: str, baseline: tuple[str, float]
) -> Measurement:
    return Measurement(name, value, unit, *baseline, value / baseline[1])


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
    """Serve some shards from a process of its own; their ports."""
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
        timed = []
        for _ in range(2):
            started = time.monotonic()
            report = await rounds.run()
            timed.append(_to_timing(report, time.monotonic() - started))
    return timed


async def _prepare_journal(data_dir: Path) -> int:
    """Leave the journal of a federation that has published its first codebook; its generation."""
    anchors, now = make_codebook(), time.time()
    memory = ModelState(anchors, now)
    result = RoundResult(anchors, {}, (), (), memory)
    async with open_journal(data_dir, None) as journal:
        await journal.become_active()
        generation = await journal.read_generation()
        stamp = (generation, 1, int(now))
        payload = from_result(result, stamp, aggregates_pb2.Coverage())
        outcome = RoundOutput(payload, from_model_state(memory), {})
        await journal.begin_round(RoundRecord(1, RoundState.PULLING, now, b""))
        await journal.save_result(RoundRecord(1, RoundState.PUBLISHING, now, b""), outcome)
        await journal.close_round(RoundRecord(1, RoundState.PUBLISHED, now, b""))
    return generation


def _to_timing(report: federation_pb2.Round, seconds: float) -> RoundTiming:
    """Return what a round took; it must have heard every shard, and reached every one."""
    assert report.coverage.shards_fresh == SHARDS
    assert all(shard.published for shard in report.shards)
    assert report.cluster_count == CLUSTERS, report.cluster_count
    return RoundTiming(
        seconds,
        _to_seconds(report.pull_time),
        _to_seconds(report.merge_time),
        _to_seconds(report.publish_time),
        sum(shard.pulled_bytes for shard in report.shards) / 1e6,
        report.result_bytes / 1e6,
    )


def _to_seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
