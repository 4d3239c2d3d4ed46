from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from constellation_settop import (
    Durability,
    InvalidArgumentError,
    LearnedPattern,
    LocalChanges,
    Outbox,
    PatternStats,
    StorageError,
    replay,
)
from constellation_settop.values import GlobalState, SimilarPattern, Subject, Trend, Version
from tests.clients.samples import make_learned_changes, make_pattern, make_signal_changes

if TYPE_CHECKING:
    from pathlib import Path


def send_and_acknowledge(outbox: Outbox, through_seq: int) -> None:
    for pending in outbox.pending_deltas:
        outbox.mark_sent(pending.seq)
    outbox.acknowledge(through_seq)


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


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_a_journal_cut_short_loses_the_newest_deltas_and_nothing_else(
    tmp_path: Path, share: float
) -> None:
    path, copy = tmp_path / "a", tmp_path / "b"
    with Outbox.open(path) as outbox:
        for number in range(1, 11):
            outbox.append(make_learned_changes(number))
        copy.write_bytes(path.read_bytes())  # as a power failure would leave it
        wal = path.with_name("a-wal").read_bytes()
    copy.with_name("b-wal").write_bytes(wal[: int(share * len(wal))])

    with Outbox.open(copy) as outbox:
        seqs = [pending.seq for pending in outbox.pending_deltas]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(outbox.read_learned()) == len(seqs)
        assert outbox.next_seq == len(seqs) + 1


def test_a_damaged_file_is_moved_aside_and_the_box_starts_anew(tmp_path: Path) -> None:
    box = bytes(range(16))
    with Outbox.open(tmp_path / "a", box) as outbox:
        before = outbox.incarnation
    (tmp_path / "a").write_bytes(b"not a database" * 100)

    with Outbox.open(tmp_path / "a", box) as outbox:
        assert outbox.device_id == box
        assert outbox.incarnation != before
    assert (tmp_path / "a.damaged").exists()


def test_two_processes_cannot_be_one_device(tmp_path: Path) -> None:
    with (
        Outbox.open(tmp_path / "a"),
        pytest.raises(StorageError, match="locked"),
        Outbox.open(tmp_path / "a"),
    ):
        pass


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

        first = outbox.read_delta(outbox.pending_deltas[0].seq)

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
        assert outbox.read_delta(snapshot.seq).signals.content_ids == ["waiting"]


def test_poor_patterns_stay_on_the_device() -> None:
    with Outbox.open(":memory:") as outbox:
        assert not outbox.append(make_learned_changes(1, success_rate=0.5))
        assert len(outbox.read_learned()) == 1


def test_a_pattern_that_becomes_poor_is_removed_from_the_shard() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1, 2))

        (seq,) = outbox.append(make_learned_changes(1, success_rate=0.5))
        delta = outbox.read_delta(seq)
        again = outbox.append(make_learned_changes(1, success_rate=0.4))

        assert delta.removed_ids == make_pattern(1).pattern_id
        assert not delta.upserts.ids
        assert not again


def test_a_forgotten_pattern_is_removed_from_the_shard_once() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1))

        (seq,) = outbox.append(LocalChanges(forgotten_ids=[make_pattern(1).pattern_id]))

        assert outbox.read_delta(seq).removed_ids == make_pattern(1).pattern_id
        assert not outbox.append(LocalChanges(forgotten_ids=[make_pattern(1).pattern_id]))


def test_what_was_never_sent_cannot_be_acked() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1))

        outbox.acknowledge(1)

        assert len(outbox.pending_deltas) == 1


def test_the_journal_replays_to_what_the_shard_holds() -> None:
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        outbox.append(make_learned_changes(1, 2, sample_count=3))
        outbox.append(make_learned_changes(1, success_rate=0.1))
        send_and_acknowledge(outbox, 2)

        journal = list(outbox.read_journal())

    assert [entry.seq for entry in journal] == [1, 2]
    assert replay(journal) == {make_pattern(2).pattern_id: PatternStats(1.0, 3)}


def test_the_global_state_survives_a_restart(tmp_path: Path) -> None:
    trend = Trend(Subject("drama", is_genre=True), 2.0, "north")
    similar = {
        make_pattern(number).pattern_id: SimilarPattern(make_pattern(number), 0.5)
        for number in (1, 2)
    }
    with Outbox.open(tmp_path / "a", durability=Durability.PROCESS_CRASH) as outbox:
        outbox.save_global_state(GlobalState(Version(1, 1), dict(similar), {trend.subject: trend}))
        del similar[make_pattern(1).pattern_id]
        outbox.save_global_state(
            GlobalState(Version(2**63, 2), dict(similar), {trend.subject: trend})
        )

    with Outbox.open(tmp_path / "a") as outbox:
        assert outbox.global_state.version == Version(2**63, 2)
        assert list(outbox.global_state.similar) == [make_pattern(2).pattern_id]
        assert outbox.global_state.trends == {trend.subject: trend}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_disk_that_refuses_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError), Outbox.open(tmp_path / "a"):
        pass


def test_patterns_come_back_as_they_were_learned(tmp_path: Path) -> None:
    original = LearnedPattern(make_pattern(3, 0.8, 5), b"memory")
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(LocalChanges([original], watched_ids=["seen"]))

    with Outbox.open(tmp_path / "a") as outbox:
        (kept,) = outbox.read_learned()
        assert kept.learner_state == b"memory"
        assert kept.pattern.sample_count == 5
        assert float(kept.pattern.embedding @ original.pattern.embedding) > 0.999
        assert outbox.read_watched() == ["seen"]
