"""Broken and hostile answers to an Exchange: the device copes, and recommends all along."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop import Outbox, Sync, SyncSettings, UnreachableError
from tests.clients.network.hostile_frames import (
    DEADLINE_SECONDS,
    HUGE,
    MANY,
    QUICK,
    REFUSED_UPDATES,
    LargestDelay,
    make_welcome,
    open_device,
)
from tests.clients.samples import ShardModel, make_learned_changes
from tests.clients.stub_shard import StubShard, refuse_exchange, serve_stub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.stub_shard import ExchangeOverride

OCCASIONAL = replace(QUICK, stay_connected=False)


def make_answer(ack: dict[str, Any] | None = None, **welcome: Any) -> pb.ExchangeResponse:
    answer = pb.ExchangeResponse(welcome=make_welcome(**welcome).welcome)
    if ack is not None:
        answer.ack.MergeFrom(patterns_pb2.DeltaAck(**ack))
    return answer


def answer_with(answer: pb.ExchangeResponse) -> ExchangeOverride:
    async def give(_: pb.ExchangeRequest, __: Any) -> pb.ExchangeResponse:
        return answer

    return give


def add_update(answer: pb.ExchangeResponse, **fields: Any) -> pb.ExchangeResponse:
    answer.update.MergeFrom(patterns_pb2.GlobalUpdate(**fields))
    return answer


BROKEN_ANSWERS: dict[str, tuple[pb.ExchangeResponse, str]] = {
    "nothing at all": (pb.ExchangeResponse(), "without a Welcome"),
    "a seq beyond 63 bits": (make_answer(expected_seq=2**64 - 1), "begins a new incarn"),
    "a threshold of NaN": (make_answer(quality_threshold=float("nan")), "quality_threshold"),
    "an ack beyond 63 bits": (make_answer({"through_seq": 2**64 - 1}), "through_seq must be below"),
    "an ack that expects too much": (
        make_answer({"expected_seq": 2**63}),
        "expected_seq 9223372036854775808 is too far beyond",
    ),
    "a rejection of a cut id": (
        make_answer({"rejected": [patterns_pb2.Rejection(pattern_id=b"x")]}),
        "rejected.pattern_id must be 16 bytes",
    ),
    "an answer beyond 4 MiB": (
        add_update(make_answer(), removed_similar_ids=bytes(5 << 20)),
        "not connected (",  # gRPC says RESOURCE_EXHAUSTED
    ),
}


@pytest.mark.parametrize("case", BROKEN_ANSWERS)
async def test_a_broken_answer_ends_a_sync_with_a_reason_and_the_next_one_works(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="constellation_settop")
    answer, reason = BROKEN_ANSWERS[case]
    stub = StubShard(ShardModel(cursor=0))
    stub.exchange_overrides = [answer_with(answer)] * 2  # at the start, and with the first delta
    async with open_device(stub, tmp_path, OCCASIONAL) as device:
        await device.flush(DEADLINE_SECONDS)

    assert reason in caplog.text
    assert stub.model.stored_patterns


HARMLESS_ANSWERS: dict[str, pb.ExchangeResponse] = {
    "limits of 2^32": make_answer(max_patterns_per_delta=MANY, max_inflight_deltas=MANY),
    "limits of 0": make_answer(max_patterns_per_delta=0, max_inflight_deltas=0),
    "an interval before the last one": make_answer(
        sync_interval=Duration(seconds=-HUGE), sync_jitter=Duration(seconds=HUGE)
    ),
    "fields of a later version": pb.ExchangeResponse.FromString(
        make_answer().SerializeToString() + b"\xaa\x06\x03new"
    ),
}


@pytest.mark.parametrize("case", HARMLESS_ANSWERS)
async def test_absurd_rules_are_survived(case: str, tmp_path: Path) -> None:
    stub = StubShard(ShardModel(cursor=0))
    stub.exchange_overrides = [answer_with(HARMLESS_ANSWERS[case])]
    async with open_device(stub, tmp_path, OCCASIONAL) as device:
        await device.flush(DEADLINE_SECONDS)

    assert stub.model.stored_patterns


@pytest.mark.parametrize("case", REFUSED_UPDATES)
async def test_an_update_that_cannot_be_applied_is_refused_whole(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stub = StubShard(ShardModel(cursor=0))
    stub.pull_update = REFUSED_UPDATES[case].global_update
    async with open_device(stub, tmp_path, OCCASIONAL) as device:
        await device.flush(DEADLINE_SECONDS)
        await device.sync.wait_for_session(DEADLINE_SECONDS)

        assert not device.outbox.global_state.similar
        assert not device.outbox.global_state.trends
    assert "a global update was refused" in caplog.text


async def test_a_shard_that_asks_for_everything_again_and_again_is_left(tmp_path: Path) -> None:
    stub = StubShard(ShardModel(cursor=0))

    async def resync_forever(request: pb.ExchangeRequest, _: Any) -> pb.ExchangeResponse:
        seq = request.deltas[-1].seq if request.deltas else request.hello.last_acked_seq
        ack = {"through_seq": seq, "expected_seq": seq + 1, "full_resync": True}
        return make_answer(ack, expected_seq=seq + 1, full_resync=True)

    stub.exchange_overrides = [resync_forever] * 1_000
    settings = SyncSettings(
        stay_connected=False,
        backoff_base_seconds=0.1,
        backoff_cap_seconds=10,
        random=LargestDelay(),
    )
    async with open_device(stub, tmp_path, settings) as device:
        device.sync_soon()
        with pytest.raises(UnreachableError):
            await device.sync.wait_for_session(0.5)

    assert len(stub.exchanges) < 6 * 10


async def test_syncs_without_use_are_repeated_ever_more_slowly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="constellation_settop")
    settings = SyncSettings(
        stay_connected=False,
        backoff_base_seconds=0.01,
        backoff_cap_seconds=10,
        random=LargestDelay(),
    )
    stub = StubShard(ShardModel(cursor=0))
    stub.exchange_overrides = [refuse_exchange(grpc.StatusCode.INTERNAL)] * 6
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1))
        async with serve_stub(stub) as address, Sync.open(address, outbox, settings) as sync:
            await sync.flush(DEADLINE_SECONDS)

    delays = [float(each) for each in re.findall(r"next attempt in ([0-9.]+) s", caplog.text)]
    assert delays == [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]  # 0.01, 0.02, 0.04, 0.08, 0.16, 0.32


async def test_a_delay_of_weeks_leaves_the_device_at_work(tmp_path: Path) -> None:
    stub = StubShard(ShardModel(cursor=0))
    begun = asyncio.Event()
    refuse = refuse_exchange(grpc.StatusCode.UNAVAILABLE, pushback_ms=2**31 - 1)

    async def refuse_and_tell(request: pb.ExchangeRequest, context: Any) -> pb.ExchangeResponse:
        begun.set()
        return await refuse(request, context)

    stub.exchange_overrides = [refuse_and_tell]
    async with open_device(stub, tmp_path, OCCASIONAL) as device:
        await asyncio.wait_for(begun.wait(), DEADLINE_SECONDS)
        with pytest.raises(UnreachableError):
            await device.flush(0.1)
