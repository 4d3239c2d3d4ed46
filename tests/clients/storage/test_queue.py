"""The queue numbers deltas, keeps their messages in the file, and replaces them by a snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from constellation.v1 import patterns_pb2 as pb
from constellation_settop.storage.database import open_database
from constellation_settop.storage.identity import DeviceState
from constellation_settop.storage.queue import DeltaQueue, PendingDelta
from constellation_settop.values import Signal

if TYPE_CHECKING:
    import sqlite3

STATE = DeviceState(bytes(16), 1, next_seq=5)


def make_signal_delta(content_id: str) -> pb.Delta:
    return pb.Delta(signals=pb.SignalColumns(content_ids=[content_id], hours=[490_000]))


def fill_queue(connection: sqlite3.Connection, *content_ids: str) -> DeltaQueue:
    queue = DeltaQueue(connection, STATE.next_seq)
    queue.pending = queue.insert([make_signal_delta(each) for each in content_ids], STATE.next_seq)
    return queue


def test_deltas_are_numbered_and_read_back_by_another_queue_of_the_file() -> None:
    with open_database(":memory:") as connection:
        first = fill_queue(connection, "a", "b")
        second = DeltaQueue(connection, STATE.next_seq + 2)

        assert second.pending == first.pending
        assert second.pending == [PendingDelta(5, False, 0), PendingDelta(6, False, 0)]  # noqa: FBT003 - positions
        assert pb.Delta.FromString(second.read(6)).signals.content_ids == ["b"]


def test_only_signals_that_never_left_are_unsent() -> None:
    with open_database(":memory:") as connection:
        queue = fill_queue(connection, "sent", "waiting")
        queue.last_sent_seq = 5

        assert [each.content_id for each in queue.read_unsent_signals()] == ["waiting"]


def test_a_queue_that_was_opened_again_counts_all_it_has_as_sent() -> None:
    with open_database(":memory:") as connection:
        fill_queue(connection, "a")

        assert DeltaQueue(connection, STATE.next_seq + 1).read_unsent_signals() == []


def test_a_snapshot_replaces_all_deltas_and_its_seq_is_at_least_what_is_asked_for() -> None:
    with open_database(":memory:") as connection:
        queue = fill_queue(connection, "a", "b")

        state, pending = queue.insert_snapshot(
            replace(STATE, next_seq=7), [Signal("kept", 490_000)], min_seq=40
        )

        assert [(each.seq, each.is_snapshot) for each in pending] == [(40, True)]
        assert state.next_seq == 41
        assert pb.Delta.FromString(queue.read(40)).signals.content_ids == ["kept"]
        assert DeltaQueue(connection, 41).pending == pending


def test_a_snapshot_of_a_device_that_shares_nothing_has_no_signals() -> None:
    with open_database(":memory:") as connection:
        queue = fill_queue(connection, "a")
        silent = replace(STATE, next_seq=6, is_sharing=False)

        _, pending = queue.insert_snapshot(silent, [Signal("a", 490_000)])

        assert not pb.Delta.FromString(queue.read(pending[0].seq)).HasField("signals")
