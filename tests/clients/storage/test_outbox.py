from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation_settop import (
    HistoryEntry,
    InvalidArgumentError,
    LearnedPattern,
    LocalChanges,
    Outbox,
)
from constellation_settop.storage.history import MAX_HISTORY, MAX_SHARED_LIKES
from tests.clients.samples import (
    make_learned_changes,
    make_pattern,
    make_related,
    make_related_update,
    make_signal_changes,
    read_delta,
    receive_update,
    send_and_acknowledge,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


def test_a_device_keeps_its_identity_and_numbering(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        identity = outbox.device_id, outbox.incarnation
        outbox.append(make_learned_changes(1))
        outbox.append(make_learned_changes(2))
        send_and_acknowledge(outbox, 1)

    with Outbox.open(tmp_path / "a") as outbox:
        assert (outbox.device_id, outbox.incarnation) == identity
        assert [pending.seq for pending in outbox.pending_deltas] == [2]
        assert outbox.append(make_learned_changes(3)) == range(3, 4)
        assert outbox.last_acked_seq == 1


def test_numbers_are_not_reused_once_everything_is_acked(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(make_learned_changes(1))
        send_and_acknowledge(outbox, 1)

    with Outbox.open(tmp_path / "a") as outbox:
        assert list(outbox.append(make_learned_changes(1))) == [2]


def test_a_delta_survives_the_death_of_its_process(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from constellation_settop import LocalChanges, Outbox, Signal\n"
        f"with Outbox.open({str(tmp_path / 'a')!r}) as outbox:\n"
        "    outbox.append(LocalChanges(signals=[Signal('a', 1)]))\n"
        "    outbox.append(LocalChanges(signals=[Signal('b', 1)]))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )

    died = subprocess.run([sys.executable, "-c", script], check=False)

    assert died.returncode == -signal.SIGKILL
    with Outbox.open(tmp_path / "a") as outbox:
        assert [pending.seq for pending in outbox.pending_deltas] == [1, 2]


def test_a_file_of_another_device_is_refused(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a", bytes(16)):
        pass
    with (
        pytest.raises(InvalidArgumentError, match="another device"),
        Outbox.open(tmp_path / "a", bytes([1] * 16)),
    ):
        pass


def test_a_long_time_offline_ends_in_one_snapshot() -> None:
    with Outbox.open(":memory:", max_pending=10) as outbox:
        for count in range(1, 500):
            outbox.append(make_learned_changes(count % 5, sample_count=count))
            assert len(outbox.pending_deltas) <= 10

        first = read_delta(outbox, outbox.pending_deltas[0].seq)

        assert first.snapshot
        assert len(first.upserts.ids) == 5 * 16
        seqs = [pending.seq for pending in outbox.pending_deltas]
        assert seqs == sorted(set(seqs))


def test_signals_that_never_left_survive_a_collapse() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_signal_changes("sent"))
        outbox.mark_sent(1)
        outbox.append(make_signal_changes("waiting"))

        outbox.compact_to_snapshot()

        (snapshot,) = outbox.pending_deltas
        assert read_delta(outbox, snapshot.seq).signals.content_ids == ["waiting"]


def test_poor_patterns_stay_on_the_device() -> None:
    with Outbox.open(":memory:") as outbox:
        assert not outbox.append(make_learned_changes(1, success_rate=0.5))
        assert len(outbox.read_learned()) == 1


def test_a_pattern_that_becomes_poor_is_removed_from_the_shard() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1, 2))

        (seq,) = outbox.append(make_learned_changes(1, success_rate=0.5))
        delta = read_delta(outbox, seq)
        again = outbox.append(make_learned_changes(1, success_rate=0.4))

        assert delta.removed_ids == make_pattern(1).pattern_id
        assert not delta.upserts.ids
        assert not again


def test_a_forgotten_pattern_is_removed_from_the_shard_once() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1))

        (seq,) = outbox.append(LocalChanges(forgotten_ids=[make_pattern(1).pattern_id]))

        assert read_delta(outbox, seq).removed_ids == make_pattern(1).pattern_id
        assert not outbox.append(LocalChanges(forgotten_ids=[make_pattern(1).pattern_id]))


def test_what_was_never_sent_cannot_be_acked() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1))

        outbox.acknowledge(1)

        assert len(outbox.pending_deltas) == 1


def make_history_changes(*content_ids: str, opinion: int = 64) -> LocalChanges:
    return LocalChanges(history=[HistoryEntry(each, opinion, 7) for each in content_ids])


def test_the_history_survives_a_restart_in_its_order(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(make_history_changes("a", "b", "c"))
        outbox.append(make_history_changes("a", opinion=-16))
    with Outbox.open(tmp_path / "a") as outbox:
        kept = [(each.content_id, each.opinion) for each in outbox.read_history()]

        assert kept == [("b", 64), ("c", 64), ("a", -16)]
        assert not outbox.pending_deltas  # the history alone concerns no shard


def test_the_file_keeps_the_newest_entries_of_the_history(outbox: Outbox) -> None:
    outbox.append(make_history_changes(*map(str, range(MAX_HISTORY + 5))))

    history = outbox.read_history()

    assert len(history) == MAX_HISTORY
    assert history[0].content_id == "5"


def test_a_snapshot_tells_the_latest_liked_content_the_oldest_first(outbox: Outbox) -> None:
    outbox.append(make_history_changes(*map(str, range(MAX_SHARED_LIKES + 2))))
    outbox.append(make_history_changes("5", opinion=-16))

    outbox.compact_to_snapshot()

    delta = read_delta(outbox, outbox.next_seq - 1)
    expected = [str(each) for each in range(1, MAX_SHARED_LIKES + 2) if each != 5]
    assert list(delta.liked_content_ids) == expected


def test_a_file_without_history_gets_one_from_its_patterns(tmp_path: Path) -> None:
    older = replace(make_pattern(1), content_ids=("a", "b"), updated_at=1)
    newer = replace(make_pattern(2), content_ids=("c", "a"), updated_at=2)
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(LocalChanges([LearnedPattern(newer), LearnedPattern(older)]))
    with closing(sqlite3.connect(tmp_path / "a")) as connection:
        connection.execute("DROP TABLE history")

    with Outbox.open(tmp_path / "a") as outbox:
        assert [each.content_id for each in outbox.read_history()] == ["b", "c", "a"]


def test_what_is_forgotten_is_in_no_delta_and_no_row(outbox: Outbox) -> None:
    receive_update(outbox, make_related_update(make_related("a", {"b": 1}), 1))
    outbox.append(replace(make_signal_changes("a", "b"), history=make_history_changes("a").history))
    outbox.append(replace(make_learned_changes(1), watched_ids=["a", "b"]))

    changes = LocalChanges(forgotten_ids=[make_pattern(1).pattern_id])
    outbox.forget(changes, ["a"])

    (pending,) = outbox.pending_deltas
    delta = read_delta(outbox, pending.seq)
    assert pending.is_snapshot
    assert list(delta.signals.content_ids) == ["b"]
    assert not delta.upserts.ids
    assert not delta.liked_content_ids
    assert list(outbox.read_watched()) == ["b"]
    assert not outbox.read_history()
    assert not outbox.read_learned()
    assert not outbox.global_state.related


def test_nothing_leaves_with_a_forgotten_content_item_while_nothing_is_shared(
    outbox: Outbox,
) -> None:
    outbox.set_sharing(is_sharing=False)

    outbox.forget(make_signal_changes("b"), ["a"])

    delta = read_delta(outbox, outbox.pending_deltas[0].seq)
    assert not delta.HasField("signals")


def test_profiles_are_one_device_to_the_shard(outbox: Outbox) -> None:
    one = replace(make_learned_changes(1), signals=make_signal_changes("a").signals)
    other = replace(make_learned_changes(2), signals=one.signals, profile="kids")

    (seq,) = outbox.append(one, other)

    delta = read_delta(outbox, seq)
    assert len(delta.upserts.ids) == 2 * 16
    assert list(delta.signals.content_ids) == ["a"]
    assert b"kids" not in outbox.read_delta(seq)


def test_what_two_profiles_liked_is_told_once_and_kept_while_one_likes_it(outbox: Outbox) -> None:
    receive_update(outbox, make_related_update(make_related("a", {"b": 1}), 1))
    outbox.append(make_history_changes("a", "b"))
    outbox.append(replace(make_history_changes("c", "a"), profile="kids"))

    outbox.forget(LocalChanges(), ["a"])
    first = read_delta(outbox, outbox.pending_deltas[0].seq)
    rows_before = len(outbox.global_state.related)
    outbox.forget_profile("kids")
    second = read_delta(outbox, outbox.pending_deltas[0].seq)

    assert list(first.liked_content_ids) == ["b", "c", "a"]
    assert list(second.liked_content_ids) == ["b"]
    assert (rows_before, len(outbox.global_state.related)) == (1, 0)


def test_forgetting_everything_leaves_the_identity_alone(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        receive_update(outbox, make_related_update(make_related("a", {"b": 1}), 1))
        outbox.append(replace(make_learned_changes(1), watched_ids=["a"]))
        outbox.append(make_history_changes("a"))
        device_id, incarnation = outbox.device_id, outbox.incarnation

        outbox.forget_everything()
    with Outbox.open(tmp_path / "a") as outbox:
        (pending,) = outbox.pending_deltas
        assert (outbox.device_id, pending.is_snapshot) == (device_id, True)
        assert outbox.incarnation != incarnation
        assert not outbox.read_learned()
        assert not outbox.read_history()
        assert not outbox.read_watched()
        assert not outbox.global_state.related
        delta = read_delta(outbox, pending.seq)
        assert (delta.upserts.ids, list(delta.liked_content_ids)) == (b"", [])


def test_without_sharing_nothing_but_the_withdrawal_is_sent(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(replace(make_learned_changes(1), history=make_history_changes("a").history))
        send_and_acknowledge(outbox, 1)
        outbox.set_sharing(is_sharing=False)
        outbox.append(replace(make_learned_changes(2), signals=make_signal_changes("b").signals))
    with Outbox.open(tmp_path / "a") as outbox:
        (withdrawal,) = outbox.pending_deltas
        delta = read_delta(outbox, withdrawal.seq)
        assert (delta.snapshot, delta.upserts.ids, list(delta.liked_content_ids)) == (True, b"", [])
        assert not outbox.is_sharing
        assert len(outbox.read_learned()) == 2
        outbox.compact_to_snapshot()
        (again,) = outbox.pending_deltas
        assert not read_delta(outbox, again.seq).upserts.ids


def test_sharing_again_tells_what_was_learned_in_the_meantime(outbox: Outbox) -> None:
    outbox.set_sharing(is_sharing=False)
    outbox.append(replace(make_learned_changes(1), history=make_history_changes("a").history))
    outbox.append(make_learned_changes(2, success_rate=0.1))

    outbox.set_sharing(is_sharing=True)

    (pending,) = outbox.pending_deltas
    delta = read_delta(outbox, pending.seq)
    assert delta.upserts.ids == make_pattern(1).pattern_id
    assert list(delta.liked_content_ids) == ["a"]
