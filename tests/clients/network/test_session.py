from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop import Outbox
from constellation_settop.network.outcome import SessionHooks
from constellation_settop.network.session import DeviceSession
from tests.clients.network.sessions import exchange_all, open_session, start_session, take_deltas
from tests.clients.samples import (
    ShardModel,
    make_global_update,
    make_learned_changes,
    make_pattern,
    read_delta,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        yield outbox


def test_hello_is_the_first_frame_and_nothing_follows_before_welcome(outbox: Outbox) -> None:
    outbox.append(make_learned_changes(1))

    session = start_session(outbox)

    assert [frame.WhichOneof("frame") for frame in session.take_frames(0)] == ["hello"]
    assert session.take_frames(1) == []


def test_a_new_device_begins_with_a_snapshot(outbox: Outbox) -> None:
    shard = ShardModel()
    outbox.append(make_learned_changes(1, 2))

    exchange_all(open_session(outbox, shard), shard)

    assert len(shard.stored_patterns) == 2
    assert not outbox.pending_deltas


def test_no_more_deltas_are_in_flight_than_the_shard_allows(outbox: Outbox) -> None:
    shard = ShardModel(max_inflight=2, cursor=0)
    for number in range(1, 6):
        outbox.append(make_learned_changes(number))

    session = open_session(outbox, shard)

    assert [delta.seq for delta in take_deltas(session)] == [1, 2]
    assert take_deltas(session) == []


def test_after_a_gap_the_device_sends_again_from_the_expected_delta(outbox: Outbox) -> None:
    shard = ShardModel(cursor=0)
    for number in range(1, 4):
        outbox.append(make_learned_changes(number))
    session = open_session(outbox, shard)
    lost, *arrived = take_deltas(session)

    for delta in arrived:
        session.receive(shard.apply_delta(delta), 0)
    exchange_all(session, shard)

    assert lost.seq == 1
    assert shard.applied_seqs == [1, 2, 3]
    assert not outbox.pending_deltas


def test_a_lost_ack_costs_one_duplicate(outbox: Outbox) -> None:
    shard = ShardModel(cursor=0)
    for number in range(1, 4):
        outbox.append(make_learned_changes(number))
    for delta in take_deltas(open_session(outbox, shard)):
        shard.apply_delta(delta)

    again = open_session(outbox, shard)

    assert [delta.seq for delta in take_deltas(again)] == [3]
    again.receive(shard.apply_delta(read_delta(outbox, 3)), 0)
    assert not outbox.pending_deltas


def test_a_shard_restored_from_a_backup_gets_everything_again(outbox: Outbox) -> None:
    shard = ShardModel(cursor=0)
    for number in range(1, 4):
        outbox.append(make_learned_changes(number))
    exchange_all(open_session(outbox, shard), shard)
    restored = ShardModel(cursor=1, stored_patterns={make_pattern(1).pattern_id: 1})

    exchange_all(open_session(outbox, restored), restored)

    assert restored.stored_patterns == shard.stored_patterns


def test_a_device_that_lost_sent_deltas_never_reuses_their_numbers(outbox: Outbox) -> None:
    shard = ShardModel(cursor=40, stored_patterns={make_pattern(9).pattern_id: 1})
    outbox.append(make_learned_changes(1))

    exchange_all(open_session(outbox, shard), shard)

    assert shard.applied_seqs == [41]
    assert set(shard.stored_patterns) == {make_pattern(1).pattern_id}


def test_a_snapshot_larger_than_a_delta_continues_in_ordinary_ones(outbox: Outbox) -> None:
    shard = ShardModel(patterns_per_delta=2)
    outbox.append(make_learned_changes(1, 2, 3, 4, 5))

    session = open_session(outbox, shard)
    sent = take_deltas(session)

    assert [delta.snapshot for delta in sent] == [True, False, False]
    for delta in sent:
        session.receive(shard.apply_delta(delta), 0)
    assert len(shard.stored_patterns) == 5


def test_a_shard_that_loses_its_cursor_within_a_session_gets_one_snapshot(outbox: Outbox) -> None:
    shard = ShardModel(cursor=0)
    session = open_session(outbox, shard)
    for number in range(1, 4):
        outbox.append(make_learned_changes(number))
    sent = take_deltas(session)
    shard.cursor = None

    for delta in sent:
        session.receive(shard.apply_delta(delta), 0)
    exchange_all(session, shard)

    assert len(shard.applied_seqs) == 1
    assert len(shard.stored_patterns) == 3


def test_an_update_is_applied_and_acked_by_its_nonce(outbox: Outbox) -> None:
    session = open_session(outbox, ShardModel())

    session.receive(
        pb.SyncResponse(global_update=make_global_update([make_pattern(5)], 1, nonce=7)), 0
    )

    answers = [frame.global_ack for frame in session.take_frames(0) if frame.HasField("global_ack")]
    assert [(answer.nonce, answer.version.version) for answer in answers] == [(7, 7)]
    assert list(outbox.global_state.similar) == [make_pattern(5).pattern_id]


@pytest.mark.parametrize("damage", ["count", "similarities", "embedding", "ids"])
def test_a_wrong_update_is_refused_and_changes_nothing(outbox: Outbox, damage: str) -> None:
    session = open_session(outbox, ShardModel())
    update = make_global_update([make_pattern(5)], 1)
    match damage:
        case "count":
            update.trend_count = 3
        case "similarities":
            update.similarities.append(1.0)
        case "embedding":
            update.similar.embeddings = b"\0" * len(update.similar.embeddings)
        case "ids":
            update.similar.ids += b"x"

    session.receive(pb.SyncResponse(global_update=update), 0)

    (answer,) = [
        frame.global_ack for frame in session.take_frames(0) if frame.HasField("global_ack")
    ]
    assert answer.error.code == code_pb2.INVALID_ARGUMENT
    assert answer.version.version == 0
    assert not outbox.global_state.similar


@pytest.mark.parametrize("reason", patterns_pb2.RejectionReason.values()[1:])
def test_a_pattern_the_shard_rejected_is_not_in_the_next_snapshot(
    outbox: Outbox, reason: patterns_pb2.RejectionReason.ValueType
) -> None:
    shard = ShardModel(cursor=0)
    outbox.append(make_learned_changes(1, 2))
    session = open_session(outbox, shard)
    (delta,) = take_deltas(session)
    answer = shard.apply_delta(delta)
    answer.delta_ack.rejected.add(seq=1, pattern_id=make_pattern(2).pattern_id, reason=reason)

    session.receive(answer, 0)

    assert take_deltas(session) == []
    outbox.compact_to_snapshot()
    snapshot = read_delta(outbox, outbox.pending_deltas[0].seq)
    assert snapshot.upserts.ids == make_pattern(1).pattern_id


def test_a_throttled_device_waits_before_the_next_delta(outbox: Outbox) -> None:
    shard = ShardModel(cursor=0)
    session = open_session(outbox, shard)
    outbox.append(make_learned_changes(1))

    pause = pb.Throttle(delay_min=Duration(seconds=5), delay_max=Duration(seconds=8))
    session.receive(pb.SyncResponse(throttle=pause), 10)

    assert take_deltas(session, 14.9) == []
    assert 15 <= session.next_wake_time(14.9) <= 18
    assert len(take_deltas(session, 18.1)) == 1


def test_a_draining_device_gets_its_acks_says_bye_and_waits_for_the_delay(outbox: Outbox) -> None:
    shard = ShardModel(cursor=0)
    outbox.append(make_learned_changes(1))
    session = open_session(outbox, shard)
    (delta,) = take_deltas(session)
    drain = pb.Drain(
        deadline=Duration(seconds=9), delay_min=Duration(seconds=3), delay_max=Duration(seconds=4)
    )

    session.receive(pb.SyncResponse(drain=drain), 1)
    outbox.append(make_learned_changes(2))

    assert session.take_frames(1) == []
    session.receive(shard.apply_delta(delta), 2)
    assert [frame.WhichOneof("frame") for frame in session.take_frames(2)] == ["bye"]
    delay = session.outcome().delay_seconds
    assert delay is not None
    assert 3 <= delay <= 4


def test_a_redirect_names_the_shard_to_go_to(outbox: Outbox) -> None:
    session = start_session(outbox)

    session.receive(pb.SyncResponse(redirect=pb.Redirect(shard_id=2, address="other:1")), 0)

    assert session.final_outcome is not None
    assert session.final_outcome.address == "other:1"


def test_a_heartbeat_goes_out_only_when_nothing_else_did(outbox: Outbox) -> None:
    shard = ShardModel(cursor=0)
    session = open_session(outbox, shard)

    assert session.take_frames(20) == []
    assert [frame.WhichOneof("frame") for frame in session.take_frames(29)] == ["heartbeat"]
    assert session.take_frames(30) == []


def test_two_missed_heartbeats_end_the_session(outbox: Outbox) -> None:
    session = open_session(outbox, ShardModel())

    session.check_timeouts(59)
    assert session.final_outcome is None
    session.check_timeouts(61)

    assert session.final_outcome is not None


def test_deltas_may_go_with_hello(outbox: Outbox) -> None:
    for number in range(3):
        outbox.append(make_learned_changes(number))
    session = DeviceSession(outbox, Random(1), SessionHooks(), deltas_with_hello=2)  # noqa: S311

    session.start(0)
    hello, *deltas = session.take_frames(0)

    assert hello.hello.device_id == outbox.device_id
    assert [frame.delta.seq for frame in deltas] == [1, 2]
    assert session.has_deltas_in_flight
    assert session.take_frames(0) == []


def test_deltas_that_are_taken_at_once_are_not_too_many_bytes(outbox: Outbox) -> None:
    for number in range(8):
        outbox.append(make_learned_changes(*range(100 * number, 100 * (number + 1))))
    session = DeviceSession(outbox, Random(1), SessionHooks(), deltas_with_hello=8)  # noqa: S311

    session.start(0)
    _, *deltas = session.take_frames(0)

    assert 0 < len(deltas) < 8
    assert sum(frame.ByteSize() for frame in deltas) < 1 << 18
