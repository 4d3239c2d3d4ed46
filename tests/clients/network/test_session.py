from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop import Outbox, replay
from constellation_settop.network.outcome import SessionHooks
from constellation_settop.network.session import DeviceSession
from tests.clients.samples import (
    ShardModel,
    make_global_update,
    make_learned_changes,
    make_pattern,
    make_signal_changes,
    read_delta,
    restore_backup,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        yield outbox


def start_session(outbox: Outbox, **options: Any) -> DeviceSession:
    session = DeviceSession(outbox, Random(1), SessionHooks(), **options)  # noqa: S311  # no secret
    session.start(0.0)
    return session


def open_session(outbox: Outbox, shard: ShardModel, **options: Any) -> DeviceSession:
    session = start_session(outbox, **options)
    session.take_frames(0.0)
    session.receive(shard.make_welcome(), 0.0)
    return session


def take_deltas(session: DeviceSession, now: float = 0.0) -> list[patterns_pb2.Delta]:
    return [frame.delta for frame in session.take_frames(now) if frame.HasField("delta")]


def exchange_all(session: DeviceSession, shard: ShardModel, now: float = 0.0) -> None:
    """Deliver deltas and acks until the device has no more to send."""
    while sent_deltas := take_deltas(session, now):
        for delta in sent_deltas:
            session.receive(shard.apply_delta(delta), now)


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


class LossyLink:
    """A device, its shard, and a network between them that a test can disturb."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.shard = ShardModel()
        self.expected: dict[bytes, int] = {}
        self._change_count = 0
        self._uplink: deque[patterns_pb2.Delta] = deque()
        self._downlink: deque[pb.SyncResponse] = deque()
        self._session = open_session(outbox, self.shard)

    def learn(self, number: int) -> None:
        self._change_count += 1
        self.outbox.append(make_learned_changes(number, sample_count=self._change_count))
        self.expected[make_pattern(number).pattern_id] = self._change_count

    def send(self, number: int) -> None:
        self._uplink.extend(take_deltas(self._session))
        for _ in range(min(number, len(self._uplink))):
            self._downlink.append(self.shard.apply_delta(self._uplink.popleft()))

    def answer(self, number: int) -> None:
        for _ in range(min(number, len(self._downlink))):
            self._session.receive(self._downlink.popleft(), 0)

    def drop(self, _: int) -> None:
        if self._uplink:
            self._uplink.popleft()

    def repeat(self, _: int) -> None:
        if self._uplink:
            self._uplink.appendleft(self._uplink[0])

    def compact(self, _: int) -> None:
        self.outbox.compact_to_snapshot()

    def lose_cursor(self, _: int) -> None:
        self.shard.cursor = None
        self.shard.stored_patterns.clear()
        self.shard.applied_seqs.clear()
        self.shard.history.clear()

    def roll_back(self, _: int) -> None:
        restore_backup(self.shard)

    def reconnect(self, _: int) -> None:
        self._uplink.clear()
        self._downlink.clear()
        self._session = open_session(self.outbox, self.shard)

    def exchange(self, _: int) -> None:
        self.send(4)
        self.answer(4)

    def settle(self) -> None:
        self.reconnect(0)
        exchange_all(self._session, self.shard)


DISTURBANCES = ["drop", "repeat", "reconnect", "lose_cursor", "roll_back", "compact"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("learn"), st.integers(1, 6)),
        st.tuples(st.just("exchange"), st.just(0)),
        st.tuples(st.sampled_from(["send", "answer"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(DISTURBANCES), st.just(0)),
    ),
    min_size=3,
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
@example([("learn", 1), ("exchange", 0), ("roll_back", 0)])
@example([("learn", 1), ("exchange", 0), ("learn", 2), ("roll_back", 0), ("exchange", 0)])
@example([("exchange", 0), ("learn", 1), ("learn", 2), ("send", 3), ("drop", 0), ("exchange", 0)])
def test_each_delta_counts_once_and_nothing_is_forgotten_on_a_lossy_link(
    steps: list[tuple[str, int]],
) -> None:
    with Outbox.open(":memory:", keep_journal=True, max_pending=8) as outbox:
        household = LossyLink(outbox)
        for step, number in steps:
            getattr(household, step)(number)

        household.settle()

        assert household.shard.stored_patterns == household.expected
        assert not outbox.pending_deltas
        stored = replay(outbox.read_journal())
        assert {key: value.sample_count for key, value in stored.items()} == household.expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["signal", "send", "lose answers", "reconnect"]), max_size=40))
def test_no_signal_is_counted_twice(steps: list[str]) -> None:
    shard = ShardModel(cursor=0)
    sent = 0
    with Outbox.open(":memory:", max_pending=5) as outbox:
        session = open_session(outbox, shard)
        for step in steps:
            match step:
                case "signal":
                    sent += 1
                    outbox.append(make_signal_changes(str(sent)))
                case "send":
                    exchange_all(session, shard)
                case "lose answers":
                    for delta in take_deltas(session):
                        shard.apply_delta(delta)
                case "reconnect":
                    session = open_session(outbox, shard)

        exchange_all(open_session(outbox, shard), shard)

    assert len(shard.counted_signals) == len(set(shard.counted_signals))
