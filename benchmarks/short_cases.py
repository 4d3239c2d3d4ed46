"""The short form of `make bench`: what a shard costs, as multiples of what a bare server costs.

Every ratio is of processor times, or of memory: a machine that does something else at the same
time makes a shard slower, but changes hardly what it costs. What other programs leave of the caches
and of the interpreter's turns still moves these ratios, always upwards, so that the lowest of a few
turns is taken.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc

from benchmarks.delta_runs import SETTINGS, run_delta_load
from benchmarks.processes import measure_cpu, read_resident_bytes
from benchmarks.published_global import PUBLISH, make_publish_requests, make_trending_global
from benchmarks.server_process import start_server
from benchmarks.shard_process import make_folder, start_shard
from benchmarks.stream_runs import open_streams, start_stream_server
from benchmarks.sync_runs import run_sync_load
from benchmarks.turns import take_turns
from constellation.v1 import aggregates_pb2_grpc, patterns_pb2, sync_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TURNS: Final = 3
_DEVICES, _DELTAS = 512, 8
_CALLS: Final = 4096
_STREAMS: Final = 1000
_CONNECTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class ShortCase:
    """What a shard and a bare server are measured for, and which figures that gives."""

    figures: tuple[str, ...]
    measure_shard: Callable[[], Mapping[str, float]]
    """Returns every figure by its name."""
    measure_bare: Callable[[], Mapping[str, float]]

    def measure(self, turns: int = _TURNS) -> dict[str, float]:
        """Return each figure's lowest ratio of shard to bare server over some turns."""
        sides = {"bare": self.measure_bare, "shard": self.measure_shard}
        results = take_turns(sides, turns)
        pairs = list(zip(results["shard"], results["bare"], strict=True))
        return {
            name: min(shard[name] / bare[name] for shard, bare in pairs) for name in self.figures
        }


def _measure_delta_shard() -> dict[str, float]:
    with make_folder() as data_dir, start_shard(data_dir=data_dir, **SETTINGS) as started:
        result = run_delta_load(started.server, devices=_DEVICES, deltas=_DELTAS)
    return {"delta_cpu": result.server_cpu_us}


def _measure_delta_bare() -> dict[str, float]:
    with start_server("echo", "uvloop") as echo:
        result = run_delta_load(echo, devices=_DEVICES, deltas=_DELTAS)
    return {"delta_cpu": result.server_cpu_us}


def _measure_sync_shard() -> dict[str, float]:
    with make_folder() as data_dir, start_shard(data_dir=data_dir, **SETTINGS) as started:
        return {"sync_cpu": run_sync_load(started.server).server_cpu_us}


def _measure_sync_bare() -> dict[str, float]:
    with start_server("echo", "uvloop") as echo, measure_cpu(echo.process.pid) as clock:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.unary_load", str(echo.port), str(_CALLS)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return {"sync_cpu": clock.seconds / _CALLS * 1e6}


def _measure_streams(*, is_bare: bool) -> dict[str, float]:
    """Return what a server needs to open a stream, to hold it, and to send an update through it."""
    send = _send_bare if is_bare else _send_from_shard
    with start_stream_server(is_bare=is_bare) as server:
        pid, before = server.process.pid, read_resident_bytes(server.process.pid)
        with (
            measure_cpu(pid) as connecting,
            open_streams(server.port, _STREAMS, _CONNECTIONS) as devices,
        ):
            devices.wait("opened")
            memory = read_resident_bytes(pid) - before
            connect_seconds = connecting.read()
            with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                grpc.channel_ready_future(channel).result()
                with measure_cpu(pid) as sending:
                    started = time.monotonic()
                    send(channel)
                    devices.wait("updated", since=started)
    return {"connect_cpu": connect_seconds, "stream_memory": memory, "update_cpu": sending.seconds}


def _send_from_shard(channel: grpc.Channel) -> None:
    stub: Any = aggregates_pb2_grpc.AggregateServiceStub(channel)
    assert stub.PublishGlobal(make_publish_requests(make_trending_global(1))).applied


def _send_bare(channel: grpc.Channel) -> None:
    """Let the bare server write to every stream what a shard sends of the same global."""
    message = make_trending_global(1)
    update = patterns_pb2.GlobalUpdate(trends=message.trends, popular=message.popular)
    update.version.version = message.round_id
    write_to_all: Any = channel.unary_unary(PUBLISH)
    write_to_all(sync_pb2.SyncResponse(global_update=update).SerializeToString())


SHORT_CASES: Final = {
    "delta": ShortCase(("delta_cpu",), _measure_delta_shard, _measure_delta_bare),
    "sync": ShortCase(("sync_cpu",), _measure_sync_shard, _measure_sync_bare),
    "streams": ShortCase(
        ("connect_cpu", "stream_memory", "update_cpu"),
        partial(_measure_streams, is_bare=False),
        partial(_measure_streams, is_bare=True),
    ),
}
