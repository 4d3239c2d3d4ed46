"""What one greedy client costs the others: the p99 of paced devices beside it and without it."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np

from benchmarks.greedy_client import KINDS, make_metadata
from benchmarks.messages import make_delta
from benchmarks.report import compare
from benchmarks.shard_process import make_folder, start_shard
from constellation.auth.keys import make_key_ring, write_key_ring
from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.report import Measurement
    from benchmarks.shard_process import StartedShard

_DEVICES: Final = 64
_INTERVAL_SECONDS: Final = 0.2
"""The time between two deltas of a device: 320 in a second."""
_SECONDS: Final = 5.0
_ROUNDS: Final = 3


def measure() -> list[Measurement]:
    """Measure the devices alone and beside each greedy client, in turns; compare the medians."""
    alone: list[float] = []
    beside: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(_ROUNDS):
        for kind in KINDS:
            with make_folder() as folder, _start_shard(folder) as started:
                alone.append(asyncio.run(_measure_p99(started.port, folder)))
                program = [sys.executable, "-m", "benchmarks.greedy_client"]
                greedy = subprocess.Popen([*program, str(started.port), kind, str(folder)])
                try:
                    beside[kind].append(asyncio.run(_measure_p99(started.port, folder)))
                    if greedy.poll() is not None:
                        raise RuntimeError(f"the greedy client of {kind} ended early")
                finally:
                    greedy.kill()
                    greedy.wait()
    baseline = statistics.median(alone)
    return [
        compare(
            f"p99_beside_greedy_{kind}",
            statistics.median(figures),
            "ms",
            f"{_DEVICES} devices alone, a delta each {_INTERVAL_SECONDS} s",
            baseline,
        )
        for kind, figures in beside.items()
    ]


def _start_shard(folder: Path) -> AbstractContextManager[StartedShard]:
    """Start a shard that asks for tokens: without them, nobody can be told apart."""
    write_key_ring(folder / "token-keys.json", make_key_ring(), is_new=True)
    return start_shard(data_dir=folder / "data", token_keys=folder / "token-keys.json")


async def _measure_p99(port: int, folder: Path) -> float:
    """Return the p99 in ms from a delta to its ack, of devices that send at fixed times."""
    codes = sample_patterns(_DEVICES)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = sync_pb2_grpc.SyncServiceStub(channel)
        waits = await asyncio.gather(
            *(_run_device(stub, folder, number, codes[number]) for number in range(_DEVICES))
        )
    return float(np.percentile(np.concatenate(waits), 99) * 1000)


async def _run_device(stub: Any, folder: Path, number: int, codes: Any) -> list[float]:
    device_id = uuid.uuid4().bytes
    call = stub.Sync(metadata=make_metadata(folder, device_id))
    await call.write(pb.SyncRequest(hello=pb.Hello(device_id=device_id, incarnation=1)))
    await call.read()
    waits, begin = [], time.perf_counter() + number / _DEVICES * _INTERVAL_SECONDS
    for seq in range(1, round(_SECONDS / _INTERVAL_SECONDS) + 1):
        due = begin + seq * _INTERVAL_SECONDS
        await asyncio.sleep(due - time.perf_counter())
        await call.write(pb.SyncRequest(delta=make_delta(seq, codes.reshape(1, -1))))
        while not (await call.read()).HasField("delta_ack"):
            pass
        waits.append(time.perf_counter() - due)
    call.cancel()
    return waits
