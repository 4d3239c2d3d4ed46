"""Time of a shard's own steps for one delta, without I/O: `python -m benchmarks.delta_steps`."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Final

from benchmarks.messages import make_delta
from constellation.core.ingest.plan import Planner
from constellation.core.rules import Rules
from constellation.core.table.hourly import HourlyRing
from constellation.core.table.shard_table import Table
from constellation.transport.codec.patterns import to_delta
from constellation.v1 import patterns_pb2 as pb
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.core.ingest.deltas import Delta

_DEVICES: Final = 1024
_GROUP: Final = 128
_ROUNDS: Final = 20


def main() -> None:
    """Print the microseconds that each step takes for a delta of one new pattern.

    The first round does not count.
    """
    rules = Rules(max_devices=_DEVICES, max_patterns=_DEVICES * (_ROUNDS + 1))
    planner = Planner(Table(rules), HourlyRing(), rules)
    devices = [uuid.uuid4().bytes for _ in range(_DEVICES)]
    seconds = {"parse and check": 0.0, "plan": 0.0, "apply": 0.0}
    for seq in range(1, _ROUNDS + 2):
        messages = _make_messages(seq)
        for start in range(0, _DEVICES, _GROUP):
            part = slice(start, start + _GROUP)
            started = time.perf_counter()
            deltas = [_parse(*each) for each in zip(devices[part], messages[part], strict=True)]
            parsed = time.perf_counter()
            plan = planner.plan_commit(deltas, time.time())
            planned = time.perf_counter()
            planner.apply(plan)
            if seq > 1:
                seconds["parse and check"] += parsed - started
                seconds["plan"] += planned - parsed
                seconds["apply"] += time.perf_counter() - planned
    for step, total in seconds.items():
        print(f"{step:16} {total / (_DEVICES * _ROUNDS) * 1e6:6.1f} us")


def _parse(device_id: bytes, message: bytes) -> Delta:
    return to_delta(device_id, 1, pb.Delta.FromString(message), max_patterns=64)


def _make_messages(seq: int) -> list[bytes]:
    codes = sample_patterns(_DEVICES, seed=seq)
    return [make_delta(seq, codes[row : row + 1]).SerializeToString() for row in range(_DEVICES)]


if __name__ == "__main__":
    main()
