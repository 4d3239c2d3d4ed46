"""What one greedy client costs the others: the p99 of paced devices beside it and without it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np

from benchmarks.greedy_client import KINDS, make_metadata
from benchmarks.messages import make_delta
from benchmarks.shard_process import make_folder, start_shard
from benchmarks.turns import Run, compare_runs, take_turns
from constellation.auth.keys import make_key_ring, write_key_ring
from constellation.v1 import sync_pb2 as pb
from constellation.v1 import sync_pb2_grpc
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.report import Measurement
    from benchmarks.shard_process import StartedShard

_DEVICES: Final = 64
_INTERVAL_SECONDS: Final = 0.2
"""The time between two deltas of a device: 320 in a second."""
_SECONDS: Final = 5.0
_ROUNDS: Final = 3


def measure() -> list[Measurement]:
    """Measure the devices alone and beside each greedy client, in turns.

    One line is the control: it says what a greedy client of another shard costs them, because all
    processes share the processors of one machine.
    """
    sides: dict[str, Callable[[], Run]] = {"alone": _measure_alone, "elsewhere": _measure_elsewhere}
    for kind in KINDS:
        sides[kind] = partial(_measure_beside, kind)
    results = take_turns(sides, _ROUNDS)
    alone = results.pop("alone")
    baseline = f"{_DEVICES} devices alone, a delta each {_INTERVAL_SECONDS} s"
    names = {"elsewhere": "p99_greedy_elsewhere"}
    return [
        compare_runs(
            names.get(kind, f"p99_beside_greedy_{kind}"), "ms", runs, baseline, alone, "lower"
        )
        for kind, runs in results.items()
    ]


def _measure_alone() -> Run:
    with make_folder() as folder, _start_shard(folder) as started:
        return _measure_devices(started.port, folder)


def _measure_beside(kind: str) -> Run:
    with (
        make_folder() as folder,
        _start_shard(folder) as started,
        _run_greedy_client(started.port, kind, folder),
    ):
        return _measure_devices(started.port, folder)


def _measure_elsewhere() -> Run:
    """Measure the devices of one shard while another one has the busiest of the greedy clients."""
    with (
        make_folder() as folder,
        _start_shard(folder) as started,
        make_folder() as other_folder,
        _start_shard(other_folder) as other,
        _run_greedy_client(other.port, "updates", other_folder),
    ):
        return _measure_devices(started.port, folder)


@contextmanager
def _run_greedy_client(port: int, kind: str, folder: Path) -> Iterator[None]:
    """Run a greedy client from its first call to the end of the block."""
    program = [sys.executable, "-m", "benchmarks.greedy_client", str(port), kind, str(folder)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as greedy:
        try:
            assert greedy.stdout is not None
            if not greedy.stdout.readline():
                raise RuntimeError(f"the greedy client of {kind} did not begin")
            yield
            if greedy.poll() is not None:
                raise RuntimeError(f"the greedy client of {kind} ended early")
        finally:
            greedy.kill()


def _start_shard(folder: Path) -> AbstractContextManager[StartedShard]:
    """Start a shard that asks for tokens: without them, callers cannot be distinguished."""
    write_key_ring(folder / "token-keys.json", make_key_ring(), is_new=True)
    return start_shard(data_dir=folder / "data", token_keys=folder / "token-keys.json")


def _measure_devices(port: int, folder: Path) -> Run:
    """Return the p99 in ms from a delta to its ack, of devices that send at fixed times."""
    waits = asyncio.run(_run_devices(port, folder))
    return Run(float(np.percentile(waits, 99) * 1000))


async def _run_devices(port: int, folder: Path) -> NDArray[np.float64]:
    codes = sample_patterns(_DEVICES)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = sync_pb2_grpc.SyncServiceStub(channel)
        waits = await asyncio.gather(
            *(_run_device(stub, folder, number, codes[number]) for number in range(_DEVICES))
        )
    return np.concatenate(waits)


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
