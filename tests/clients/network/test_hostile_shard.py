"""Broken and hostile servers, over real gRPC: the device copes, and recommends all along."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop import (
    Device,
    DeviceSettings,
    Outbox,
    Sync,
    SyncSettings,
    UnreachableError,
    View,
)
from constellation_settop.columns import MAX_SIMILAR
from constellation_settop.related_columns import from_related_rows
from constellation_settop.values import RelatedRow
from tests.clients.samples import (
    ShardModel,
    make_catalogue,
    make_global_update,
    make_learned_changes,
    make_pattern,
    make_row_id,
)
from tests.clients.stub_shard import StubShard, answer_with, end_with_status, serve_stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.clients.stub_shard import StreamOverride

QUICK = SyncSettings(backoff_base_seconds=0.01, backoff_cap_seconds=0.05)
HUGE = 2**62
MANY = 2**32 - 1
DEADLINE_SECONDS = 10


class LargestDelay(Random):
    """Draws the upper bound, so that delays are those of the back-off without jitter."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


@asynccontextmanager
async def open_device(
    stub: StubShard, data_dir: Path, sync: SyncSettings = QUICK
) -> AsyncIterator[Device]:
    """Open a device that has something to send; when the block ends, it must recommend."""
    settings = DeviceSettings(sync=sync)
    async with (
        serve_stub(stub) as address,
        Device.open(
            address, data_dir=data_dir, catalogue=make_catalogue(), settings=settings
        ) as device,
    ):
        device.observe(View("0-1", 1.0, 1.0))
        yield device
        assert device.recommend(limit=1)[0].content_id.startswith("0-")


def make_welcome(**fields: Any) -> pb.SyncResponse:
    frame = ShardModel(cursor=0).make_welcome()
    frame.welcome.MergeFrom(pb.Welcome(**fields))
    return frame


def make_redirect(address: str, delay_seconds: int = 0) -> pb.SyncResponse:
    delay = Duration(seconds=delay_seconds)
    redirect = pb.Redirect(address=address, shard_id=1, delay_min=delay, delay_max=delay)
    return pb.SyncResponse(redirect=redirect)


def make_ack(**fields: Any) -> pb.SyncResponse:
    return pb.SyncResponse(delta_ack=patterns_pb2.DeltaAck(**fields))


def make_update(**fields: Any) -> pb.SyncResponse:
    """Return an update with one similar pattern, and some fields as a test says."""
    update = make_global_update([make_pattern(5)], 1)
    for name, value in fields.items():
        update.ClearField(name)  # type: ignore[arg-type]  # any field
        update.MergeFrom(patterns_pb2.GlobalUpdate(**{name: value}))
    return pb.SyncResponse(global_update=update)


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


REFUSED_UPDATES: dict[str, pb.SyncResponse] = {
    "an embedding of NaN": make_update(
        similar=patterns_pb2.PatternColumns(
            ids=bytes(16),
            encoding=patterns_pb2.ENCODING_FLOAT32,
            embeddings=np.full(384, np.nan, "<f4").tobytes(),
        )
    ),
    "a cut embedding": make_update(
        similar=patterns_pb2.PatternColumns(
            ids=bytes(16), encoding=patterns_pb2.ENCODING_INT8, embeddings=bytes(7)
        )
    ),
    "an unknown encoding": make_update(
        similar=patterns_pb2.PatternColumns(ids=bytes(16), encoding=99, embeddings=bytes(388))  # type: ignore[arg-type]
    ),
    "cut ids": make_update(removed_similar_ids=b"short"),
    "no similarities": make_update(similarities=[]),
    "a similarity of NaN": make_update(similarities=[float("nan")]),
    "a count that is not so": make_update(similar_count=MANY),
    "a trend that is infinitely popular": make_update(
        trends=[patterns_pb2.Trend(genre="Drama", score=1, popularity=float("inf"))]
    ),
    "a trend about nothing": make_update(trends=[patterns_pb2.Trend(score=1)]),
    "too many trends": make_update(
        trends=[patterns_pb2.Trend(content_id=f"film:{each}", score=1) for each in range(1001)],
        trend_count=1001,
    ),
    "a related row of another content item": make_update(
        related=from_related_rows({bytes(16): RelatedRow("a", ("b",), b"1", 0)}), related_count=1
    ),
    "a related row without end": make_update(
        related=patterns_pb2.RelatedRows(
            ids=make_row_id("a"),
            content_ids=["a", *map(str, range(255))],
            contents=[0],
            neighbour_counts=b"\xff",
            neighbours=range(1, 256),
            weights=bytes([1]) * 255,
            shifts=bytes(1),
        ),
        related_count=1,
    ),
    "a related row that names nothing": make_update(
        related=patterns_pb2.RelatedRows(
            ids=make_row_id("a"),
            content_ids=["a"],
            contents=[0],
            neighbour_counts=b"\x01",
            neighbours=[MANY],
            weights=b"1",
            shifts=bytes(1),
        ),
        related_count=1,
    ),
    "a related count that is not so": make_update(related_count=MANY),
    "three popular lists": make_update(
        popular=[
            patterns_pb2.PopularContents(id=bytes([each]) * 16, region=str(each))
            for each in range(3)
        ]
    ),
    "an endless popular list": make_update(
        popular=[
            patterns_pb2.PopularContents(
                id=bytes(16), content_ids=map(str, range(10_000)), households=range(10_000)
            )
        ]
    ),
    "a long name": make_update(
        trends=[patterns_pb2.Trend(genre="x" * 1000, score=1)], trend_count=1
    ),
}


@pytest.mark.parametrize("case", REFUSED_UPDATES)
async def test_an_update_that_cannot_be_applied_is_refused_whole(case: str, tmp_path: Path) -> None:
    stub = StubShard(ShardModel(cursor=0))
    answers: asyncio.Queue[pb.GlobalAck] = asyncio.Queue()
    stub.stream_overrides = [collect_acks(answers, REFUSED_UPDATES[case])]
    async with open_device(stub, tmp_path) as device:
        answer = await asyncio.wait_for(answers.get(), DEADLINE_SECONDS)

        assert answer.error.code == 3  # INVALID_ARGUMENT
        assert not device.outbox.global_state.similar
        assert not device.outbox.global_state.trends


def collect_acks(answers: asyncio.Queue[pb.GlobalAck], *frames: pb.SyncResponse) -> StreamOverride:
    """Answer Hello with a Welcome and these frames; keep what the device says about updates."""

    async def serve(context: Any) -> None:
        await context.read()
        for frame in (make_welcome(), *frames):
            await context.write(frame)
        while (request := await context.read()) is not grpc.aio.EOF:
            if request.HasField("global_ack"):
                answers.put_nowait(request.global_ack)

    return serve


async def test_what_a_device_keeps_of_others_is_bounded(tmp_path: Path) -> None:
    """A shard that only ever adds is refused once the device is full."""
    stub, batch = StubShard(ShardModel(cursor=0)), 400
    updates = [
        make_global_update(
            [make_pattern(number) for number in range(start, start + batch)], start + 1
        )
        for start in range(0, 3 * batch, batch)
    ]
    for position, update in enumerate(updates):
        update.similar_count = batch * (position + 1)
    frames = [pb.SyncResponse(global_update=update) for update in updates]
    answers: asyncio.Queue[pb.GlobalAck] = asyncio.Queue()
    stub.stream_overrides = [collect_acks(answers, *frames)]
    async with open_device(stub, tmp_path) as device:
        acks = [await asyncio.wait_for(answers.get(), DEADLINE_SECONDS) for _ in frames]

        assert [ack.HasField("error") for ack in acks] == [False, False, True]
        assert len(device.outbox.global_state.similar) == 2 * batch <= MAX_SIMILAR


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
