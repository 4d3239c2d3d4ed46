from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation_settop import (
    InvalidArgumentError,
    LocalChanges,
    Outbox,
)
from tests.clients.samples import (
    make_learned_changes,
    make_pattern,
    make_signal_changes,
    read_delta,
    send_and_acknowledge,
)

if TYPE_CHECKING:
    from pathlib import Path


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


def test_profiles_are_one_device_to_the_shard(outbox: Outbox) -> None:
    one = replace(make_learned_changes(1), signals=make_signal_changes("a").signals)
    other = replace(make_learned_changes(2), signals=one.signals, profile="kids")

    (seq,) = outbox.append(one, other)

    delta = read_delta(outbox, seq)
    assert len(delta.upserts.ids) == 2 * 16
    assert list(delta.signals.content_ids) == ["a"]
    assert b"kids" not in outbox.read_delta(seq)
