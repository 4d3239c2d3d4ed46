"""On a link that drops, repeats and reconnects, each delta counts once and no signal twice."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from constellation_settop import Outbox, replay
from tests.clients.network.sessions import exchange_all, open_session, take_deltas
from tests.clients.samples import (
    ShardModel,
    make_learned_changes,
    make_pattern,
    make_signal_changes,
    restore_backup,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from constellation.v1 import patterns_pb2
    from constellation.v1 import sync_pb2 as pb


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        yield outbox


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
