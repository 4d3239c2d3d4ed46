"""What a household forgets or withdraws leaves the file, the pending deltas and the shard."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from constellation_settop import (
    LocalChanges,
    Outbox,
)
from tests.clients.samples import (
    make_history_changes,
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
    from pathlib import Path


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


def test_what_two_profiles_liked_is_told_once_and_kept_while_one_likes_it(outbox: Outbox) -> None:
    outbox.append(make_history_changes("a", "b"))
    outbox.append(replace(make_history_changes("c", "a"), profile="kids"))

    outbox.forget(LocalChanges(), ["a"])
    first = read_delta(outbox, outbox.pending_deltas[0].seq)
    outbox.forget_profile("kids")
    second = read_delta(outbox, outbox.pending_deltas[0].seq)

    assert list(first.liked_content_ids) == ["b", "c", "a"]
    assert list(second.liked_content_ids) == ["b"]


def test_the_rows_that_stay_do_not_tell_which_film_was_forgotten(outbox: Outbox) -> None:
    rows = make_related("a", {"b": 1}) | make_related("b", {"a": 1})
    receive_update(outbox, make_related_update(rows, 2))
    outbox.append(make_history_changes("a"))
    held = len(outbox.global_state.related)

    outbox.forget(LocalChanges(), ["a"])

    assert (held, len(outbox.global_state.related)) == (2, 0)


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
