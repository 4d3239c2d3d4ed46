"""A load of whole syncs: each device sends a delta of one new pattern, and takes what is new.

`python -m benchmarks.sync_load PORT PID DEVICES SYNCS [RATE]` runs it in a process, and prints a
SyncLoadResult as one line of JSON. PID is the server's process, whose processor time is measured.
Each device waits for its answer before the next sync; with RATE, all devices together also make no
more than RATE syncs in a second, spread evenly.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
import uvloop

from benchmarks.messages import make_delta
from benchmarks.processes import measure_cpu
from constellation.v1 import patterns_pb2, sync_pb2
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.encoding import Codes

_CONNECTIONS: Final = 8
"""A shard takes at most 100 calls at once on one connection."""
_METHOD: Final = "/constellation.v1.SyncService/Exchange"


@dataclass(frozen=True, slots=True)
class SyncLoadResult:
    """What the devices measured."""

    syncs_per_second: float
    p50_ms: float
    p99_ms: float
    similar: float
    """Similar patterns in an answer, on average."""
    trends: float
    """Trends in an answer, on average."""
    answer_bytes: float
    """Bytes of an answer, on average."""
    server_cpu_us: float
    """Processor time of the server for one sync."""
    load_cpu_us: float
    """The same of this load."""


@dataclass(frozen=True, slots=True)
class _Pace:
    """When the syncs of one device are due, in seconds from the start."""

    first: float = 0.0
    interval: float = 0.0


async def run(port: int, pid: int, devices: int, syncs: int, rate: float = 0.0) -> SyncLoadResult:
    """Let devices sync repeatedly."""
    codes = sample_patterns(devices * syncs, seed=11)
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(_CONNECTIONS)
    ]
    requests = [
        _make_requests(codes[number * syncs : (number + 1) * syncs]) for number in range(devices)
    ]
    paces = [_Pace(number / rate, devices / rate) if rate else _Pace() for number in range(devices)]
    started = time.perf_counter()
    with measure_cpu(pid) as server, measure_cpu(os.getpid()) as load:
        results = await asyncio.gather(
            *(
                _sync(channels[number % _CONNECTIONS], requests[number], paces[number])
                for number in range(devices)
            )
        )
        seconds = time.perf_counter() - started
    for channel in channels:
        await channel.close()
    last = [sync_pb2.ExchangeResponse.FromString(answer).update for _, answer in results]
    waits = np.concatenate([waits for waits, _ in results]) * 1000
    count = devices * syncs
    return SyncLoadResult(
        count / seconds,
        float(np.percentile(waits, 50)),
        float(np.percentile(waits, 99)),
        float(np.mean([update.similar_count for update in last])),
        float(np.mean([update.trend_count for update in last])),
        float(np.mean([len(answer) for _, answer in results])),
        server.seconds / count * 1e6,
        load.seconds / count * 1e6,
    )


def _make_requests(codes: Codes) -> list[bytes]:
    """Return the calls of one device that holds nothing: a delta for each row."""
    device_id = uuid.uuid4().bytes
    return [
        sync_pb2.ExchangeRequest(
            hello=sync_pb2.Hello(
                device_id=device_id,
                incarnation=1,
                last_acked_seq=row,
                encodings=[patterns_pb2.ENCODING_INT8],
            ),
            deltas=[make_delta(row + 1, codes[row : row + 1])],
        ).SerializeToString()
        for row in range(len(codes))
    ]


async def _sync(
    channel: grpc.aio.Channel, requests: list[bytes], pace: _Pace
) -> tuple[list[float], bytes]:
    """Make the calls. Return the seconds of each from when it was due, and the last answer."""
    exchange: Any = channel.unary_unary(_METHOD)
    begun = time.perf_counter()
    waits, answer = [], b""
    for number, request in enumerate(requests):
        due = begun + pace.first + number * pace.interval
        if pace.interval:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        started = due if pace.interval else time.perf_counter()
        answer = await exchange(request)
        waits.append(time.perf_counter() - started)
    return waits, answer


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:5]]
    rates = [float(each) for each in sys.argv[5:]]
    print(json.dumps(asdict(uvloop.run(run(*numbers, *rates)))))
