"""A load of devices. Each has a stream on which it sends a delta, waits for the ack, and repeats.

`python -m benchmarks.delta_load [--signals] PORT PID DEVICES DELTAS [FOLDER]` runs it in its own
process, the same for every server, and prints a DeltaLoadResult as one line of JSON. PID is the
server's process, whose processor time is measured. FOLDER has ca.pem and token-keys.json of a
server with TLS that asks for tokens. With --signals each delta also says that a content item was
watched.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
import uvloop

from benchmarks.messages import make_delta
from benchmarks.processes import measure_cpu
from constellation.auth.keys import read_key_ring
from constellation.auth.principal import Role
from constellation.auth.tokens import issue_token
from constellation.v1 import sync_pb2
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from constellation.encoding import Codes

METHOD: Final = "/constellation.v1.SyncService/Sync"
_ACK_TAG: Final = 0x12
"""First byte of an answer to a delta: the tag of `delta_ack`, and also of an echoed `delta`."""
_CONNECTIONS: Final = 8
_TOKEN_SECONDS: Final = 3600.0
_CONTENTS: Final = 1000
"""Content items that signals name."""


@dataclass(frozen=True, slots=True)
class DeltaLoadResult:
    """What the devices measured."""

    syncs_per_second: float
    p50_ms: float
    p99_ms: float
    bytes_per_delta: int
    streams_per_second: float
    """How many streams were opened in a second, one after the other, each with its Hello."""
    server_cpu_us: float
    """Processor time of the server for one delta."""
    load_cpu_us: float
    """The same of this load."""


async def run(
    server: tuple[int, int],
    devices: int,
    deltas: int,
    security: Path | None = None,
    *,
    with_signals: bool = False,
) -> DeltaLoadResult:
    """Let devices send deltas of one new pattern each, with one unacknowledged at a time.

    `server` is its port and the id of its process.
    """
    port, pid = server
    codes = sample_patterns(devices * deltas)
    ids = [uuid.uuid4().bytes for _ in range(devices)]
    frames = [
        _make_frames(
            each, codes[n * deltas : (n + 1) * deltas], first_content=n if with_signals else None
        )
        for n, each in enumerate(ids)
    ]
    metadata = [_make_metadata(each, security) for each in ids]
    channels = [_open_channel(port, security) for _ in range(_CONNECTIONS)]
    started = time.perf_counter()
    calls = [
        await _open_stream(channels[number % _CONNECTIONS], frames[number][0], metadata[number])
        for number in range(devices)
    ]
    streams_per_second = devices / (time.perf_counter() - started)
    started = time.perf_counter()
    with measure_cpu(pid) as server_cpu, measure_cpu(os.getpid()) as load_cpu:
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
    rate = len(wait_ms) / seconds
    return DeltaLoadResult(
        rate,
        float(p50),
        float(p99),
        len(frames[0][1]),
        streams_per_second=streams_per_second,
        server_cpu_us=server_cpu.seconds / len(wait_ms) * 1e6,
        load_cpu_us=load_cpu.seconds / len(wait_ms) * 1e6,
    )


def _open_channel(port: int, security: Path | None) -> grpc.aio.Channel:
    options = (("grpc.use_local_subchannel_pool", 1),)
    if security is None:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
    credentials = grpc.ssl_channel_credentials((security / "ca.pem").read_bytes())
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


def _make_metadata(device_id: bytes, security: Path | None) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a device's stream: its token, where the server asks for one."""
    if security is None:
        return ()
    ring = read_key_ring(security / "token-keys.json")
    token = issue_token(ring, "constellation", device_id.hex(), [Role.DEVICE], _TOKEN_SECONDS)
    return (("authorization", f"Bearer {token}"),)


async def _open_stream(
    channel: grpc.aio.Channel, hello: bytes, metadata: tuple[tuple[str, str], ...]
) -> Any:
    call: Any = channel.stream_stream(METHOD)(metadata=metadata)
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


def _make_frames(device_id: bytes, codes: Codes, first_content: int | None) -> list[bytes]:
    """Return the Hello of a device and its deltas, one for each row of `codes`, as bytes.

    The n-th delta has a signal for the n-th content item after `first_content`, unless that is
    None: one for each of the last hours.
    """
    hello = sync_pb2.Hello(device_id=device_id, incarnation=1)
    frames = [sync_pb2.SyncRequest(hello=hello)]
    deltas = [make_delta(row + 1, codes[row : row + 1]) for row in range(len(codes))]
    if first_content is not None:
        first_hour = int(time.time()) // 3600 - len(deltas)
        for number, delta in enumerate(deltas):
            delta.signals.content_ids.append(f"film:{(first_content + number) % _CONTENTS}")
            delta.signals.hours.append(first_hour + number)
    frames += [sync_pb2.SyncRequest(delta=delta) for delta in deltas]
    return [frame.SerializeToString() for frame in frames]


if __name__ == "__main__":
    arguments = [each for each in sys.argv[1:] if each != "--signals"]
    port, pid, devices, deltas, *folders = arguments
    security = Path(folders[0]) if folders else None
    with_signals = "--signals" in sys.argv
    server = (int(port), int(pid))
    load = run(server, int(devices), int(deltas), security, with_signals=with_signals)
    result = uvloop.run(load)
    print(json.dumps(asdict(result)))
