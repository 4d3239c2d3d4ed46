"""Processor time of a shard's own steps for a delta: `python -m benchmarks.delta_steps`."""

from __future__ import annotations

import statistics
import time
import uuid
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.messages import make_delta
from constellation.core.ingest.content_budget import ContentBudget
from constellation.core.ingest.decode import decode_patterns
from constellation.core.ingest.plan import Planner
from constellation.core.rules import Rules
from constellation.core.table.hourly import HourlyRing
from constellation.core.table.shard_table import Table
from constellation.transport.codec.patterns import to_delta
from constellation.v1 import patterns_pb2 as pb
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.deltas import Delta
    from constellation.encoding import Codes

_DEVICES: Final = 1024
_GROUPS: Final = (16, 64, 128)
"""Deltas of one commit."""
_ROUNDS: Final = 20
_STEPS: Final = ("parse and check", "plan", "its decoding", "apply")
"""Decoding is part of the plan, and is measured once more by itself."""


def main() -> None:
    """Print the microseconds that each step takes for a delta of one new pattern, as medians."""
    codes = sample_patterns(_DEVICES)
    print("deltas in a commit", *(f"{step:>16}" for step in _STEPS))
    for group in _GROUPS:
        print(f"{group:18}", *(f"{each:13.1f} us" for each in _measure(codes, group)))


def _measure(codes: Codes, group: int) -> list[float]:
    """Return the microseconds of each step. The first round does not count."""
    rules = Rules(max_devices=_DEVICES, max_patterns=_DEVICES * (_ROUNDS + 1))
    planner = Planner(Table(rules), HourlyRing(), rules)
    devices = [uuid.uuid4().bytes for _ in range(_DEVICES)]
    rounds = []
    for seq in range(1, _ROUNDS + 2):
        messages = _make_messages(seq, np.roll(codes, seq, axis=0))
        parts = [slice(start, start + group) for start in range(0, _DEVICES, group)]
        taken = [_run_commit(planner, devices[part], messages[part]) for part in parts]
        rounds.append(np.sum(taken, axis=0))
    return [statistics.median(step) / _DEVICES * 1e6 for step in zip(*rounds[1:], strict=True)]


def _run_commit(
    planner: Planner, devices: Sequence[bytes], messages: Sequence[bytes]
) -> list[float]:
    """Return the seconds of processor time of each step."""
    started = time.thread_time()
    deltas = [_parse(*each) for each in zip(devices, messages, strict=True)]
    parsed = time.thread_time()
    plan = planner.plan_commit(deltas, time.time())
    planned = time.thread_time()
    _decode(planner.table, deltas)
    decoded = time.thread_time()
    planner.apply(plan)
    applied = time.thread_time()
    return [parsed - started, planned - parsed, decoded - planned, applied - decoded]


def _parse(device_id: bytes, message: bytes) -> Delta:
    return to_delta(device_id, 1, pb.Delta.FromString(message), max_patterns=64)


def _decode(table: Table, deltas: Sequence[Delta]) -> None:
    batches = [delta.upserts for delta in deltas if delta.upserts is not None]
    budget = ContentBudget(table, np.empty(0, np.int64), 0, 0)
    decode_patterns(batches, range(len(batches)), budget, 0.0)


def _make_messages(seq: int, codes: Codes) -> list[bytes]:
    return [make_delta(seq, codes[row : row + 1]).SerializeToString() for row in range(len(codes))]


if __name__ == "__main__":
    main()
