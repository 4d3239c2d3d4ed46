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
from benchmarks.shard_process import folder
from benchmarks.synthetic_aggregates import CLUSTERS, codebook
from constellation.config import Addresses, Count
from constellation.encoding import DIMENSION
from constellation.telemetry.logs import set_up_logs
from constellation.v1 import aggregates_pb2, federation_pb2
from federation.config import FederationConfig
from federation.journal.contract import Outcome, RoundRecord, RoundState
from federation.journal.open import open_journal
from federation.merge.result import Memory, Result
from federation.messages import from_memory, from_result
from federation.server import open_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from google.protobuf.duration_pb2 import Duration

SHARDS: Final = 100
_PROCESSES: Final = 2
_REPEATED: Final = 3
_TARGET_SECONDS: Final = 10.0
_SUMS_MB: Final = SHARDS * CLUSTERS * DIMENSION * 8 / 1e6


@dataclass(frozen=True, slots=True)
class Timed:
    """One round, as long as its caller waited, and where that went."""

    seconds: float
    pull: float
    merge: float
    publish: float
    pulled_mb: float
    global_mb: float

    @property
    def settle(self) -> float:
        """What is left: the journal, beginning and closing included."""
        return self.seconds - self.pull - self.merge - self.publish


def measure() -> list[Measurement]:
    """Run a first round, which pulls everything, and the next one, several times over."""
    set_up_logs("warning")
    pairs = sorted((_pair() for _ in range(_REPEATED)), key=lambda pair: pair[0].seconds)
    whole = pairs[len(pairs) // 2][0]
    later = sorted((pair[1] for pair in pairs), key=lambda timed: timed.seconds)[len(pairs) // 2]
    told = "a round that pulls everything"
    return [
        Measurement(
            "federation_round_seconds",
            whole.seconds,
            "s",
            "the target",
            _TARGET_SECONDS,
            whole.seconds / _TARGET_SECONDS,
        ),
        *_parts("federation_round", whole),
        _of("federation_round_pulled", whole.pulled_mb, "MB", ("its int64 sums alone", _SUMS_MB)),
        _of("federation_round_global", whole.global_mb, "MB", ("what was pulled", whole.pulled_mb)),
        _of("federation_next_round_seconds", later.seconds, "s", (told, whole.seconds)),
        *_parts("federation_next_round", later),
        _of("federation_next_round_pulled", later.pulled_mb, "MB", (told, whole.pulled_mb)),
    ]


def _parts(name: str, timed: Timed) -> list[Measurement]:
    parts = {
        "pull": timed.pull,
        "merge": timed.merge,
        "settle": timed.settle,
        "publish": timed.publish,
    }
    whole = ("the whole round", timed.seconds)
    return [_of(f"{name}_{part}", seconds, "s", whole) for part, seconds in parts.items()]


def _of(name: str, value: float, unit: str, baseline: tuple[str, float]) -> Measurement:
    return Measurement(name, value, unit, *baseline, value / baseline[1])


def _pair() -> Sequence[Timed]:
    with ExitStack() as stack:
        data_dir = stack.enter_context(folder())
        generation = uvloop.run(_leave_codebook(data_dir))
        each = SHARDS // _PROCESSES
        ports = [
            port
            for processes in [
                stack.enter_context(_shards(number * each, each, generation))
                for number in range(_PROCESSES)
            ]
            for port in processes
        ]
        return uvloop.run(_run([f"127.0.0.1:{port}" for port in ports], data_dir))


@contextmanager
def _shards(first_id: int, count: int, generation: int) -> Iterator[list[int]]:
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


async def _run(addresses: Sequence[str], data_dir: Path) -> Sequence[Timed]:
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
            told = await rounds.run()
            timed.append(_timed(told, time.monotonic() - started))
    return timed


async def _leave_codebook(data_dir: Path) -> int:
    """Leave the journal of a federation that has published its first codebook; its generation."""
    anchors, now = codebook(), time.time()
    memory = Memory(anchors, now)
    result = Result(anchors, {}, (), (), memory)
    async with open_journal(data_dir, None) as journal:
        await journal.take()
        generation = await journal.generation()
        moment = (generation, 1, int(now))
        payload = from_result(result, moment, aggregates_pb2.Coverage())
        outcome = Outcome(payload, from_memory(memory), {})
        await journal.begin(RoundRecord(1, RoundState.PULLING, now, b""))
        await journal.settle(RoundRecord(1, RoundState.PUBLISHING, now, b""), outcome)
        await journal.close(RoundRecord(1, RoundState.PUBLISHED, now, b""))
    return generation


def _timed(told: federation_pb2.Round, seconds: float) -> Timed:
    """Return what a round took; it must have heard every shard, and reached every one."""
    assert told.coverage.shards_heard == SHARDS
    assert all(shard.published for shard in told.shards)
    assert told.cluster_count == CLUSTERS, told.cluster_count
    return Timed(
        seconds,
        _seconds(told.pull_time),
        _seconds(told.merge_time),
        _seconds(told.publish_time),
        sum(shard.pulled_bytes for shard in told.shards) / 1e6,
        told.result_bytes / 1e6,
    )


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
