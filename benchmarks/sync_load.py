"""A load of whole syncs: each device sends a delta of one new pattern, and takes what is new.

`python -m benchmarks.sync_load PORT DEVICES SYNCS` runs it in its own process, and prints a
SyncLoadResult as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
import uvloop

from benchmarks.messages import make_delta
from constellation.v1 import patterns_pb2, sync_pb2
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.encoding import Codes

_CONNECTIONS: Final = 4
_SERVICE: Final = "/constellation.v1.SyncService"


@dataclass(frozen=True, slots=True)
class SyncLoadResult:
    """What the devices measured."""

    syncs_per_second: float
    p99_ms: float
    similar: float
    """Similar patterns in an answer, on average."""
    trends: float
    """Trends in an answer, on average."""


async def run(port: int, devices: int, syncs: int) -> SyncLoadResult:
    """Let devices sync repeatedly. Each waits for its answers before the next sync."""
    codes = sample_patterns(devices * syncs, seed=11)
    channels = [
        grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),)
        )
        for _ in range(_CONNECTIONS)
    ]
    started = time.perf_counter()
    results = await asyncio.gather(
        *(
            _sync(channels[number % _CONNECTIONS], codes[number * syncs : (number + 1) * syncs])
            for number in range(devices)
        )
    )
    seconds = time.perf_counter() - started
    for channel in channels:
        await channel.close()
    last = [sync_pb2.ExchangeResponse.FromString(answer).update for _, answer in results]
    waits = np.concatenate([waits for waits, _ in results]) * 1000
    return SyncLoadResult(
        devices * syncs / seconds,
        float(np.percentile(waits, 99)),
        float(np.mean([update.similar_count for update in last])),
        float(np.mean([update.trend_count for update in last])),
    )


async def _sync(channel: grpc.aio.Channel, codes: Codes) -> tuple[list[float], bytes]:
    """Sync once for each row. Return the seconds of each sync, and the last answer as bytes."""
    exchange: Any = channel.unary_unary(f"{_SERVICE}/Exchange")
    device_id = uuid.uuid4().bytes
    requests = [
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
    waits, answer = [], b""
    for request in requests:
        started = time.perf_counter()
        answer = await exchange(request)
        waits.append(time.perf_counter() - started)
    return waits, answer


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(*map(int, sys.argv[1:]))))))
