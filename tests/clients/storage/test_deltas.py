from __future__ import annotations

from dataclasses import replace

from constellation_settop import LocalChanges, Signal
from constellation_settop.storage.deltas import (
    MAX_WITHDRAWN,
    build_deltas,
    build_snapshot,
    to_signals,
)
from constellation_settop.storage.identity import DeviceState
from constellation_settop.values import MAX_SIGNALS
from tests.clients.samples import make_learned_changes, make_pattern

STATE = DeviceState(bytes(16), 1)
FIRST, SECOND = make_pattern(1).pattern_id, make_pattern(2).pattern_id


def test_nothing_that_concerns_the_shard_makes_no_delta() -> None:
    assert build_deltas(LocalChanges(watched_ids=["a"]), set(), STATE) == []
    assert build_deltas(make_learned_changes(1, success_rate=0.5), set(), STATE) == []


def test_a_pattern_at_the_threshold_is_shared() -> None:
    (delta,) = build_deltas(make_learned_changes(1, success_rate=0.7), set(), STATE)

    assert delta.upserts.ids == FIRST


def test_a_shared_pattern_that_became_poor_or_was_forgotten_is_removed() -> None:
    poor = make_learned_changes(1, success_rate=0.5)
    changes = replace(poor, forgotten_ids=[SECOND, make_pattern(3).pattern_id])

    (delta,) = build_deltas(changes, {FIRST, SECOND}, STATE)

    assert delta.removed_ids == FIRST + SECOND
    assert not delta.upserts.ids


def test_changes_are_split_to_what_one_delta_may_hold() -> None:
    state = replace(STATE, patterns_per_delta=2)
    changes = replace(make_learned_changes(1, 2, 3), forgotten_ids=[make_pattern(9).pattern_id])

    deltas = build_deltas(changes, {make_pattern(9).pattern_id}, state)

    assert [len(delta.upserts.ids) // 16 for delta in deltas] == [2, 1, 0]
    assert [len(delta.removed_ids) // 16 for delta in deltas] == [0, 0, 1]


def test_only_the_first_delta_of_a_snapshot_is_marked() -> None:
    deltas = build_snapshot([make_pattern(1), make_pattern(2)], [], ["a", "b"], 1)

    assert [delta.snapshot for delta in deltas] == [True, False]
    assert [list(delta.liked_content_ids) for delta in deltas] == [["a", "b"], []]


def test_a_snapshot_of_nothing_is_a_delta() -> None:
    (delta,) = build_snapshot([], [], [], 64)

    assert delta.snapshot
    assert not delta.upserts.ids


def test_the_oldest_signals_give_way_to_newer_ones() -> None:
    signals = [Signal("a", hour) for hour in range(MAX_SIGNALS + 3)]

    (delta,) = build_deltas(LocalChanges(signals=signals), set(), STATE)

    assert to_signals(delta.SerializeToString()) == signals[3:]


def test_withdrawn_content_is_named_once_and_split_to_what_one_delta_may_hold() -> None:
    names = [str(number) for number in range(2 * MAX_WITHDRAWN + 1)]

    deltas = build_deltas(LocalChanges(withdrawn_ids=names), set(), STATE)

    assert [len(delta.withdrawn_content_ids) for delta in deltas] == [128, 128, 1]
    assert [each for delta in deltas for each in delta.withdrawn_content_ids] == names
