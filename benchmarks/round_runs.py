"""Runs of whole rounds over real gRPC: pull, merge, journal and publish."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import uvloop

from benchmarks.shard_process import make_folder
from benchmarks.synthetic_aggregates import CLUSTERS, make_codebook
from constellation.config import Addresses, Count
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

_PROCESSES: Final = 2


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


def run_two_rounds(shards: int) -> Sequence[RoundTiming]:
    """Return the timings of a round that pulls everything, and of the next one."""
    with ExitStack() as stack:
        data_dir = stack.enter_context(make_folder())
        generation = uvloop.run(_prepare_journal(data_dir))
        half = shards // _PROCESSES
        ports = [
            port
            for processes in [
                stack.enter_context(_start_shards(first, count, generation))
                for first, count in ((0, half), (half, shards - half))
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
    async with open_rounds(config, None) as (rounds, _):
        await rounds.resume()
        timings = []
        for _ in range(2):
            started = time.monotonic()
            report = await rounds.run()
            timings.append(_to_timing(report, len(addresses), time.monotonic() - started))
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


def _to_timing(report: RoundReport, shards: int, seconds: float) -> RoundTiming:
    """Return what a round took; it must have heard every shard, and reached every one."""
    assert report.coverage is not None
    assert report.coverage.shards_fresh == shards
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
