from __future__ import annotations

from typing import Any

import grpc
import pytest

from benchmarks.processes import read_cpu_seconds, read_resident_bytes
from benchmarks.published_global import make_publish_requests, make_trending_global
from benchmarks.stream_runs import open_streams, start_stream_server
from constellation.v1 import aggregates_pb2_grpc, sync_pb2
from testing.ports import find_free_port

STREAMS = 40


def test_a_shard_sends_a_new_global_to_every_stream() -> None:
    with (
        start_stream_server(is_bare=False) as server,
        open_streams(server.port, STREAMS, connections=2) as devices,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        opened = devices.wait("opened")
        stub: Any = aggregates_pb2_grpc.AggregateServiceStub(channel)
        assert stub.PublishGlobal(make_publish_requests(make_trending_global(1))).applied

        frames = [devices.wait("updated", since=opened.at).update_hex]
        while b"film:1:0" not in bytes.fromhex(frames[-1]):  # a Hello brings an update as well
            frames.append(devices.wait("updated", since=opened.at).update_hex)

        assert sync_pb2.SyncResponse.FromString(bytes.fromhex(frames[-1])).global_update.trends
        assert read_cpu_seconds(server.process.pid) > 0
        assert read_resident_bytes(server.process.pid) > 10 << 20


def test_a_bare_server_writes_what_it_is_sent_to_every_stream() -> None:
    frame = sync_pb2.SyncResponse()
    frame.global_update.version.version = 7

    with (
        start_stream_server(is_bare=True) as server,
        open_streams(server.port, STREAMS, connections=2) as devices,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        opened = devices.wait("opened")
        write_to_all: Any = channel.unary_unary("/constellation.v1.AggregateService/PublishGlobal")
        write_to_all(frame.SerializeToString())

        updated = devices.wait("updated", since=opened.at)

    assert bytes.fromhex(updated.update_hex) == frame.SerializeToString()


@pytest.mark.parametrize("is_bare", [True, False])
def test_every_device_comes_back_after_its_server_was_killed(is_bare: bool) -> None:  # noqa: FBT001  # a parameter of the test
    port = find_free_port()
    with (
        start_stream_server(is_bare=is_bare, port=port) as server,
        open_streams(port, STREAMS, connections=STREAMS) as devices,
    ):
        first = devices.wait("opened")
        server.process.kill()
        server.process.wait()
        with start_stream_server(is_bare=is_bare, port=port):
            assert devices.wait("opened").at > first.at


def test_a_load_that_ended_is_an_error() -> None:
    with (
        start_stream_server(is_bare=True) as server,
        open_streams(server.port, STREAMS, connections=1) as devices,
    ):
        devices.process.kill()

        with pytest.raises(RuntimeError, match="ended before all were updated"):
            devices.wait("updated")
