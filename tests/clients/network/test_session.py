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
from constellation_settop.network.outcome import Hooks
from constellation_settop.network.session import Session
from tests.clients.samples import (
    ShardRules,
    global_update,
    learned,
    pattern,
    restore_backup,
    signalled,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        yield outbox


def begin(outbox: Outbox, **options: Any) -> Session:
    session = Session(outbox, Random(1), Hooks(), **options)  # noqa: S311  # no secret
    session.open(0.0)
    return session


def opened(outbox: Outbox, shard: ShardRules, **options: Any) -> Session:
    session = begin(outbox, **options)
    session.take(0.0)
    session.receive(shard.welcome(), 0.0)
    return session


def deltas(session: Session, now: float = 0.0) -> list[patterns_pb2.Delta]:
    return [frame.delta for frame in session.take(now) if frame.HasField("delta")]


def converse(session: Session, shard: ShardRules, now: float = 0.0) -> None:
    """Carry every frame until neither has anything to say."""
    while sent := deltas(session, now):
        for delta in sent:
            session.receive(shard.take(delta), now)


def test_hello_is_the_first_frame_and_nothing_follows_before_welcome(outbox: Outbox) -> None:
    outbox.append(learned(1))

    session = begin(outbox)

    assert [frame.WhichOneof("frame") for frame in session.take(0)] == ["hello"]
    assert session.take(1) == []


def test_a_new_device_begins_with_a_snapshot(outbox: Outbox) -> None:
    shard = ShardRules()
    outbox.append(learned(1, 2))

    converse(opened(outbox, shard), shard)

    assert len(shard.stored) == 2
    assert not outbox.pending


def test_no_more_deltas_are_in_flight_than_the_shard_allows(outbox: Outbox) -> None:
    shard = ShardRules(window=2, cursor=0)
    for number in range(1, 6):
        outbox.append(learned(number))

    session = opened(outbox, shard)

    assert [delta.seq for delta in deltas(session)] == [1, 2]
    assert deltas(session) == []


def test_after_a_gap_the_device_sends_again_from_the_expected_delta(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    for number in range(1, 4):
        outbox.append(learned(number))
    session = opened(outbox, shard)
    lost, *arrived = deltas(session)

    for delta in arrived:
        session.receive(shard.take(delta), 0)
    converse(session, shard)

    assert lost.seq == 1
    assert shard.applied == [1, 2, 3]
    assert not outbox.pending


def test_a_lost_ack_costs_one_duplicate(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    for number in range(1, 4):
        outbox.append(learned(number))
    for delta in deltas(opened(outbox, shard)):
        shard.take(delta)

    again = opened(outbox, shard)

    assert [delta.seq for delta in deltas(again)] == [3]
    again.receive(shard.take(outbox.message(3)), 0)
    assert not outbox.pending


def test_a_shard_restored_from_a_backup_gets_everything_again(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    for number in range(1, 4):
        outbox.append(learned(number))
    converse(opened(outbox, shard), shard)
    restored = ShardRules(cursor=1, stored={pattern(1).pattern_id: 1})

    converse(opened(outbox, restored), restored)

    assert restored.stored == shard.stored


def test_a_device_that_lost_sent_deltas_never_reuses_their_numbers(outbox: Outbox) -> None:
    shard = ShardRules(cursor=40, stored={pattern(9).pattern_id: 1})
    outbox.append(learned(1))

    converse(opened(outbox, shard), shard)

    assert shard.applied == [41]
    assert set(shard.stored) == {pattern(1).pattern_id}


def test_a_snapshot_larger_than_a_delta_continues_in_ordinary_ones(outbox: Outbox) -> None:
    shard = ShardRules(patterns_per_delta=2)
    outbox.append(learned(1, 2, 3, 4, 5))

    session = opened(outbox, shard)
    sent = deltas(session)

    assert [delta.snapshot for delta in sent] == [True, False, False]
    for delta in sent:
        session.receive(shard.take(delta), 0)
    assert len(shard.stored) == 5


def test_a_shard_that_loses_its_cursor_within_a_session_gets_one_snapshot(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    session = opened(outbox, shard)
    for number in range(1, 4):
        outbox.append(learned(number))
    sent = deltas(session)
    shard.cursor = None

    for delta in sent:
        session.receive(shard.take(delta), 0)
    converse(session, shard)

    assert len(shard.applied) == 1
    assert len(shard.stored) == 3


def test_an_update_is_applied_and_acked_by_its_nonce(outbox: Outbox) -> None:
    session = opened(outbox, ShardRules())

    session.receive(pb.SyncResponse(global_update=global_update([pattern(5)], 1, nonce=7)), 0)

    answers = [frame.global_ack for frame in session.take(0) if frame.HasField("global_ack")]
    assert [(answer.nonce, answer.version.version) for answer in answers] == [(7, 7)]
    assert list(outbox.global_state.similar) == [pattern(5).pattern_id]


@pytest.mark.parametrize("damage", ["count", "similarities", "embedding", "ids"])
def test_a_wrong_update_is_refused_and_changes_nothing(outbox: Outbox, damage: str) -> None:
    session = opened(outbox, ShardRules())
    update = global_update([pattern(5)], 1)
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

    (answer,) = [frame.global_ack for frame in session.take(0) if frame.HasField("global_ack")]
    assert answer.error.code == code_pb2.INVALID_ARGUMENT
    assert answer.version.version == 0
    assert not outbox.global_state.similar


def test_a_pattern_the_shard_rejected_is_not_in_the_next_snapshot(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    outbox.append(learned(1, 2))
    session = opened(outbox, shard)
    (delta,) = deltas(session)
    answer = shard.take(delta)
    answer.delta_ack.rejected.add(seq=1, pattern_id=pattern(2).pattern_id, reason=6)

    session.receive(answer, 0)

    outbox.collapse()
    snapshot = outbox.message(outbox.pending[0].seq)
    assert snapshot.upserts.ids == pattern(1).pattern_id


def test_a_throttled_device_waits_before_the_next_delta(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    session = opened(outbox, shard)
    outbox.append(learned(1))

    pause = pb.Throttle(delay_min=Duration(seconds=5), delay_max=Duration(seconds=8))
    session.receive(pb.SyncResponse(throttle=pause), 10)

    assert deltas(session, 14.9) == []
    assert 15 <= session.wake_at(14.9) <= 18
    assert len(deltas(session, 18.1)) == 1


def test_a_draining_device_gets_its_acks_says_bye_and_waits_as_told(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    outbox.append(learned(1))
    session = opened(outbox, shard)
    (delta,) = deltas(session)
    drain = pb.Drain(
        deadline=Duration(seconds=9), delay_min=Duration(seconds=3), delay_max=Duration(seconds=4)
    )

    session.receive(pb.SyncResponse(drain=drain), 1)
    outbox.append(learned(2))

    assert session.take(1) == []
    session.receive(shard.take(delta), 2)
    assert [frame.WhichOneof("frame") for frame in session.take(2)] == ["bye"]
    delay = session.parting().delay_seconds
    assert delay is not None
    assert 3 <= delay <= 4


def test_a_redirect_names_the_shard_to_go_to(outbox: Outbox) -> None:
    session = begin(outbox)

    session.receive(pb.SyncResponse(redirect=pb.Redirect(shard_id=2, address="other:1")), 0)

    assert session.over is not None
    assert session.over.address == "other:1"


def test_a_heartbeat_goes_out_only_when_nothing_else_did(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    session = opened(outbox, shard)

    assert session.take(20) == []
    assert [frame.WhichOneof("frame") for frame in session.take(29)] == ["heartbeat"]
    assert session.take(30) == []


def test_two_missed_heartbeats_end_the_session(outbox: Outbox) -> None:
    session = opened(outbox, ShardRules())

    session.check(59)
    assert session.over is None
    session.check(61)

    assert session.over is not None


def test_a_device_that_does_not_stay_says_bye_once_all_is_acked(outbox: Outbox) -> None:
    shard = ShardRules(cursor=0)
    outbox.append(learned(1))
    session = opened(outbox, shard, leave_when_done=True)
    (delta,) = deltas(session)

    session.receive(shard.take(delta), 0)

    assert [frame.WhichOneof("frame") for frame in session.take(0)] == ["bye"]
    assert session.done


class Household:
    """A device and its shard, with a network between them that a test may disturb."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.shard = ShardRules()
        self.expected: dict[bytes, int] = {}
        self._learned = 0
        self._up: deque[patterns_pb2.Delta] = deque()
        self._down: deque[pb.SyncResponse] = deque()
        self._session = opened(outbox, self.shard)

    def learn(self, number: int) -> None:
        self._learned += 1
        self.outbox.append(learned(number, sample_count=self._learned))
        self.expected[pattern(number).pattern_id] = self._learned

    def send(self, number: int) -> None:
        self._up.extend(deltas(self._session))
        for _ in range(min(number, len(self._up))):
            self._down.append(self.shard.take(self._up.popleft()))

    def answer(self, number: int) -> None:
        for _ in range(min(number, len(self._down))):
            self._session.receive(self._down.popleft(), 0)

    def drop(self, _: int) -> None:
        if self._up:
            self._up.popleft()

    def repeat(self, _: int) -> None:
        if self._up:
            self._up.appendleft(self._up[0])

    def collapse(self, _: int) -> None:
        self.outbox.collapse()

    def lose_cursor(self, _: int) -> None:
        self.shard.cursor = None
        self.shard.stored.clear()
        self.shard.applied.clear()
        self.shard.history.clear()

    def roll_back(self, _: int) -> None:
        restore_backup(self.shard)

    def reconnect(self, _: int) -> None:
        self._up.clear()
        self._down.clear()
        self._session = opened(self.outbox, self.shard)

    def exchange(self, _: int) -> None:
        self.send(4)
        self.answer(4)

    def settle(self) -> None:
        self.reconnect(0)
        converse(self._session, self.shard)


DISTURBANCES = ["drop", "repeat", "reconnect", "lose_cursor", "roll_back", "collapse"]
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
def test_whatever_is_lost_each_delta_counts_once_and_nothing_is_forgotten(
    steps: list[tuple[str, int]],
) -> None:
    with Outbox.open(":memory:", keep_journal=True, max_pending=8) as outbox:
        household = Household(outbox)
        for step, number in steps:
            getattr(household, step)(number)

        household.settle()

        assert household.shard.stored == household.expected
        assert not outbox.pending
        held = replay(outbox.journal())
        assert {key: value.sample_count for key, value in held.items()} == household.expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["signal", "send", "lose answers", "reconnect"]), max_size=40))
def test_no_signal_is_counted_twice(steps: list[str]) -> None:
    shard = ShardRules(cursor=0)
    sent = 0
    with Outbox.open(":memory:", max_pending=5) as outbox:
        session = opened(outbox, shard)
        for step in steps:
            match step:
                case "signal":
                    sent += 1
                    outbox.append(signalled(str(sent)))
                case "send":
                    converse(session, shard)
                case "lose answers":
                    for delta in deltas(session):
                        shard.take(delta)
                case "reconnect":
                    session = opened(outbox, shard)

        converse(opened(outbox, shard), shard)

    assert len(shard.signals) == len(set(shard.signals))
