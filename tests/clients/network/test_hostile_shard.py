"""Broken and hostile servers, over real gRPC: the device copes, and recommends all along."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop import (
    Outbox,
    Sync,
    SyncSettings,
    UnreachableError,
)
from tests.clients.network.hostile_frames import (
    DEADLINE_SECONDS,
    HUGE,
    MANY,
    QUICK,
    LargestDelay,
    collect_acks,
    make_ack,
    make_redirect,
    make_update,
    make_welcome,
    open_device,
)
from tests.clients.samples import (
    ShardModel,
    make_learned_changes,
)
from tests.clients.stub_shard import StubShard, answer_with, end_with_status, serve_stub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.stub_shard import StreamOverride


BROKEN_SESSIONS: dict[str, tuple[tuple[pb.SyncResponse, ...], str]] = {
    "a seq beyond 63 bits": ((make_welcome(expected_seq=2**64 - 1),), "begins a new incarn"),
    "a threshold of NaN": ((make_welcome(quality_threshold=float("nan")),), "quality_threshold"),
    "a threshold above 1": ((make_welcome(quality_threshold=1e30),), "quality_threshold"),
    "two Welcomes": ((make_welcome(), make_welcome()), "a second Welcome"),
    "an ack beyond 63 bits": (
        (make_welcome(), make_ack(through_seq=2**64 - 1)),
        "through_seq must be below",
    ),
    "an ack that expects too much": (
        (make_welcome(), make_ack(expected_seq=2**63)),
        "expected_seq 9223372036854775808 is too far beyond",
    ),
    "a rejection of a cut id": (
        (make_welcome(), make_ack(rejected=[patterns_pb2.Rejection(pattern_id=b"x")])),
        "rejected.pattern_id must be 16 bytes",
    ),
    "a redirect to a socket": ((make_redirect("unix:/run/other"),), "a redirect to 'unix:/run"),
    "a redirect to nothing like an address": (
        (make_redirect("\x1b]0;owned\x07" * 1000),),
        "not a host:port",
    ),
    "updates without end": (
        (make_welcome(), *[make_update() for _ in range(700)]),
        "global updates",  # more than 600, or faster than the answers are read
    ),
    "a frame beyond 4 MiB": (
        (make_welcome(), make_update(removed_similar_ids=bytes(5 << 20))),
        "not connected (",  # gRPC says INTERNAL or RESOURCE_EXHAUSTED
    ),
}


@pytest.mark.parametrize("case", BROKEN_SESSIONS)
async def test_a_broken_session_ends_with_a_reason_and_the_next_one_works(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="constellation_settop")
    frames, reason = BROKEN_SESSIONS[case]
    stub = StubShard(ShardModel(cursor=0))
    stub.stream_overrides = [answer_with(*frames)]
    async with open_device(stub, tmp_path) as device:
        while len(stub.stream_metadata) < 2:
            device.sync_soon()
            await asyncio.wait_for(stub.opened_streams.get(), DEADLINE_SECONDS)
        await device.flush(DEADLINE_SECONDS)

        assert device.sync.is_connected
    assert reason in caplog.text
    assert stub.model.stored_patterns


HARMLESS_FRAMES: dict[str, tuple[pb.SyncResponse, ...]] = {
    "heartbeats every 10^11 years": (make_welcome(heartbeat_interval=Duration(seconds=HUGE)),),
    "heartbeats before the last one": (make_welcome(heartbeat_interval=Duration(seconds=-HUGE)),),
    "heartbeats each nanosecond": (make_welcome(heartbeat_interval=Duration(nanos=1)),),
    "limits of 2^32": (make_welcome(max_patterns_per_delta=MANY, max_inflight_deltas=MANY),),
    "a pause that ended long ago": (
        make_welcome(),
        pb.SyncResponse(throttle=pb.Throttle(delay_min=Duration(seconds=-HUGE))),
    ),
    "frames of a later version": (
        make_welcome(),
        pb.SyncResponse.FromString(b"\xaa\x06\x03new"),
        pb.SyncResponse(),
    ),
}


@pytest.mark.parametrize("case", HARMLESS_FRAMES)
async def test_absurd_rules_and_unknown_frames_are_survived(case: str, tmp_path: Path) -> None:
    stub = StubShard(ShardModel(cursor=0))
    received: asyncio.Queue[pb.SyncRequest] = asyncio.Queue()

    async def serve_odd_stream(context: Any) -> None:
        await context.read()
        for frame in HARMLESS_FRAMES[case]:
            await context.write(frame)
        while (request := await context.read()) is not grpc.aio.EOF:
            received.put_nowait(request)
            if request.HasField("delta"):
                await context.write(stub.model.apply_delta(request.delta))
            if request.HasField("bye"):
                return

    stub.stream_overrides = [serve_odd_stream]
    async with open_device(stub, tmp_path) as device:
        await device.flush(DEADLINE_SECONDS)

        assert device.sync.is_connected
    heartbeats = sum(received.get_nowait().HasField("heartbeat") for _ in range(received.qsize()))
    assert heartbeats < 20


async def test_a_shard_that_asks_for_everything_again_and_again_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="constellation_settop")
    stub, deltas = StubShard(ShardModel(cursor=0)), []

    async def resync_forever(context: Any) -> None:
        await context.read()
        await context.write(make_welcome())
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.HasField("delta"):
                deltas.append(request.delta)
                seq = request.delta.seq
                await context.write(
                    make_ack(through_seq=seq, expected_seq=seq + 1, full_resync=True)
                )

    stub.stream_overrides = [resync_forever]
    async with open_device(stub, tmp_path) as device:
        device.sync_soon()
        for _ in range(2):
            await asyncio.wait_for(stub.opened_streams.get(), DEADLINE_SECONDS)

    assert "more than 8 resyncs in one session" in caplog.text
    assert len(deltas) < 12


@dataclass(frozen=True)
class Unhelpful:
    """What a server does in each session."""

    frames: tuple[pb.SyncResponse, ...]
    at_once: int
    """How many sessions may follow each other without a pause of the back-off."""


LOOPS = {
    "a Welcome, and the end": Unhelpful((make_welcome(),), 0),
    "a redirect to itself": Unhelpful((make_redirect(""),), 3),
    "a Welcome, and a redirect": Unhelpful((make_welcome(), make_redirect("")), 3),
}


@pytest.mark.parametrize("case", LOOPS)
async def test_sessions_without_use_are_repeated_ever_more_slowly(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="constellation_settop")
    settings = SyncSettings(
        backoff_base_seconds=0.01, backoff_cap_seconds=10, random=LargestDelay()
    )
    stub, sessions = StubShard(ShardModel(cursor=0)), LOOPS[case].at_once + 6
    stub.stream_overrides = [end_after(*LOOPS[case].frames) for _ in range(sessions)]
    with Outbox.open(":memory:") as outbox:
        async with serve_stub(stub) as address, Sync.open(address, outbox, settings):
            for _ in range(sessions):
                await asyncio.wait_for(stub.opened_streams.get(), DEADLINE_SECONDS)

    delays = [float(each) for each in re.findall(r"next attempt in ([0-9.]+) s", caplog.text)]
    assert delays[:5] == [0.0, 0.0, 0.0, 0.1, 0.2]  # 0.01, 0.02, 0.04, 0.08, 0.16


def end_after(*frames: pb.SyncResponse) -> StreamOverride:
    """Answer Hello with these frames, and end the stream."""

    async def serve(context: Any) -> None:
        await context.read()
        for frame in frames:
            await context.write(frame)

    return serve


async def test_a_shard_that_drains_at_once_is_not_visited_without_a_pause() -> None:
    settings = SyncSettings(
        backoff_base_seconds=0.02, backoff_cap_seconds=10, random=LargestDelay()
    )
    stub, sessions = StubShard(ShardModel(cursor=0)), 5
    frames = (make_welcome(), pb.SyncResponse(drain=pb.Drain()))
    stub.stream_overrides = [answer_with(*frames) for _ in range(sessions)]
    loop = asyncio.get_running_loop()
    started = loop.time()
    with Outbox.open(":memory:") as outbox:
        async with serve_stub(stub) as address, Sync.open(address, outbox, settings):
            for _ in range(sessions):
                await asyncio.wait_for(stub.opened_streams.get(), DEADLINE_SECONDS)

    assert loop.time() - started >= 0.02 + 0.04 + 0.08 + 0.16


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS])
async def test_a_delay_of_weeks_leaves_the_device_at_work(
    code: grpc.StatusCode, tmp_path: Path
) -> None:
    stub = StubShard(ShardModel(cursor=0))
    stub.stream_overrides = [end_with_status(code, pushback_ms=2**31 - 1)]
    async with open_device(stub, tmp_path) as device:
        await asyncio.wait_for(stub.opened_streams.get(), DEADLINE_SECONDS)
        with pytest.raises(UnreachableError):
            await device.flush(0.1)


async def test_a_pause_without_end_leaves_the_device_at_work(tmp_path: Path) -> None:
    throttle = pb.Throttle(delay_min=Duration(seconds=HUGE), delay_max=Duration(seconds=HUGE))
    stub = StubShard(ShardModel(cursor=0))
    answers: asyncio.Queue[pb.GlobalAck] = asyncio.Queue()
    stub.stream_overrides = [collect_acks(answers, pb.SyncResponse(throttle=throttle))]
    async with open_device(stub, tmp_path) as device:
        with pytest.raises(UnreachableError):
            await device.flush(0.2)

        assert list(device.outbox.pending_deltas)


class GarbageServer(grpc.GenericRpcHandler):
    """Answers every call with bytes that are no message."""

    def service(self, call_details: Any) -> Any:
        async def answer_stream(_: Any, context: Any) -> None:
            await context.write(b"\xff\xff\xff")

        async def answer(_: Any, __: Any) -> bytes:
            return b"\xff\xff\xff"

        if call_details.method.endswith("/Sync"):
            return grpc.stream_stream_rpc_method_handler(answer_stream)
        return grpc.unary_unary_rpc_method_handler(answer)


async def test_a_server_that_answers_with_garbage_is_no_shard() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((GarbageServer(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with Outbox.open(":memory:") as outbox:
            outbox.append(make_learned_changes(1))
            async with Sync.open(f"127.0.0.1:{port}", outbox, QUICK) as sync:
                with pytest.raises(UnreachableError, match="cannot be decoded: this is not a sh"):
                    await sync.flush(3)  # three streams end, and then unary calls do
    finally:
        await server.stop(0)


async def test_a_shard_map_of_thousands_is_not_used(tmp_path: Path) -> None:
    stub = StubShard(ShardModel(cursor=0))
    stub.shard_map = dict.fromkeys(range(5000), "here:1")
    async with open_device(stub, tmp_path) as device:
        await device.flush(DEADLINE_SECONDS)

    assert "x-constellation-shard" not in stub.stream_metadata[0]
