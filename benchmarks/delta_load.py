"""A load of devices. Each has a stream on which it sends a delta, waits for the ack, and repeats.

`python -m benchmarks.delta_load PORT DEVICES DELTAS` runs it in its own process, the same for every
server, and prints a DeltaLoadResult as one line of JSON.
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
from constellation.v1 import sync_pb2
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.encoding import Codes

METHOD: Final = "/constellation.v1.SyncService/Sync"
_ACK_TAG: Final = 0x12
"""First byte of an answer to a delta: the tag of `delta_ack`, and also of an echoed `delta`."""
_CONNECTIONS: Final = 8


@dataclass(frozen=True, slots=True)
class DeltaLoadResult:
    """What the devices measured."""

    syncs_per_second: float
    p50_ms: float
    p99_ms: float
    bytes_per_delta: int


async def run(port: int, devices: int, deltas: int) -> DeltaLoadResult:
    """Let devices send deltas of one new pattern each, with one unacknowledged at a time."""
    codes = sample_patterns(devices * deltas)
    frames = [_make_frames(codes[n * deltas : (n + 1) * deltas]) for n in range(devices)]
    channels = [_open_channel(port) for _ in range(_CONNECTIONS)]
    calls = [
        await _open_stream(channels[number % _CONNECTIONS], frames[number][0])
        for number in range(devices)
    ]
    started = time.perf_counter()
    waits = await asyncio.gather(
        *(_push(call, sent[1:]) for call, sent in zip(calls, frames, strict=True))
    )
    seconds = time.perf_counter() - started
    for call in calls:
        call.cancel()
    for channel in channels:
        await channel.close()
    wait_ms = np.concatenate([np.array(each) for each in waits]) * 1000
    p50, p99 = np.percentile(wait_ms, [50, 99])
    return DeltaLoadResult(len(wait_ms) / seconds, float(p50), float(p99), len(frames[0][1]))


def _open_channel(port: int) -> grpc.aio.Channel:
    options = (("grpc.use_local_subchannel_pool", 1),)
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)


async def _open_stream(channel: grpc.aio.Channel, hello: bytes) -> Any:
    call: Any = channel.stream_stream(METHOD)()
    await call.write(hello)
    await call.read()
    return call


async def _push(call: Any, frames: list[bytes]) -> list[float]:
    waits = []
    for frame in frames:
        started = time.perf_counter()
        await call.write(frame)
        while (await call.read())[0] != _ACK_TAG:
            pass
        waits.append(time.perf_counter() - started)
    return waits


def _make_frames(codes: Codes) -> list[bytes]:
    """Return the Hello of a device and its deltas, one for each row of `codes`, as bytes."""
    hello = sync_pb2.Hello(device_id=uuid.uuid4().bytes, incarnation=1)
    frames = [sync_pb2.SyncRequest(hello=hello)]
    deltas = [make_delta(row + 1, codes[row : row + 1]) for row in range(len(codes))]
    frames += [sync_pb2.SyncRequest(delta=delta) for delta in deltas]
    return [frame.SerializeToString() for frame in frames]


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(*map(int, sys.argv[1:]))))))
