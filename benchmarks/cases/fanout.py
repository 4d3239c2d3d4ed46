"""A new global state to 10,000 streams, compared with bare grpcio that writes the same bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import grpc

from benchmarks.processes import read_cpu_seconds
from benchmarks.published_global import PUBLISH, make_publish_requests, make_trending_global
from benchmarks.stream_runs import open_streams, start_stream_server
from benchmarks.turns import Run, compare_runs
from constellation.v1 import aggregates_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.report import Measurement
    from benchmarks.server_process import StartedServer
    from benchmarks.stream_runs import OpenStreams

_STREAMS: Final = 10_000
_CONNECTIONS: Final = 50
_ROUNDS: Final = 5


def measure() -> list[Measurement]:
    """Keep a shard and a bare server with as many streams, and let each send, in turns."""
    with (
        start_stream_server(is_bare=False) as shard,
        start_stream_server(is_bare=True) as bare,
        open_streams(shard.port, _STREAMS, _CONNECTIONS) as devices,
        open_streams(bare.port, _STREAMS, _CONNECTIONS) as bare_devices,
    ):
        devices.wait("opened")
        bare_devices.wait("opened")
        ours, theirs, update = [], [], b""
        for round_id in range(1, _ROUNDS + 1):
            run, update = _measure_shard(shard, devices, round_id)
            ours.append(run)
            theirs.append(_measure_bare(bare, bare_devices, update))
    baseline = f"bare grpcio, the same {len(update):,} bytes to {_STREAMS:,} streams"
    return [compare_runs("fanout_vs_bare", "s", ours, baseline, theirs)]


def _measure_shard(server: StartedServer, devices: OpenStreams, round_id: int) -> tuple[Run, bytes]:
    """Return the seconds until the last device had a new global, and the frame that it got."""
    message = make_trending_global(round_id)

    def publish(channel: grpc.Channel) -> None:
        stub: Any = aggregates_pb2_grpc.AggregateServiceStub(channel)
        assert stub.PublishGlobal(make_publish_requests(message)).applied

    return _measure(server, devices, publish)


def _measure_bare(server: StartedServer, devices: OpenStreams, update: bytes) -> Run:
    def publish(channel: grpc.Channel) -> None:
        write_to_all: Any = channel.unary_unary(PUBLISH)
        write_to_all(update)

    run, _ = _measure(server, devices, publish)
    return run


def _measure(
    server: StartedServer, devices: OpenStreams, publish: Callable[[grpc.Channel], object]
) -> tuple[Run, bytes]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        grpc.channel_ready_future(channel).result()
        before, started = read_cpu_seconds(server.process.pid), time.monotonic()
        publish(channel)
        updated = devices.wait("updated", since=started)  # a Hello brings an update as well
    used = read_cpu_seconds(server.process.pid) - before
    run = Run(updated.at - started, {"server": used / _STREAMS * 1e6})
    return run, bytes.fromhex(updated.update_hex)
