from __future__ import annotations

import numpy as np

from constellation_settop import AckedDelta, PatternStats
from examples.demo.store_state import (
    DeltaCounts,
    StoredDevice,
    compute_signals,
    filter_recent,
    find_lost_deltas,
)
from testing.viewings import Viewings

FIRST, SECOND = b"\1" * 16, b"\2" * 16


def make_acked_delta(
    seq: int, upserts: dict[bytes, PatternStats], removed: tuple[bytes, ...] = ()
) -> AckedDelta:
    return AckedDelta(
        seq,
        digest=b"",
        is_snapshot=False,
        upserts=upserts,
        removed_ids=removed,
        rejected_ids=(),
        signal_count=0,
        acked_at=0.0,
    )


def test_a_pattern_the_shard_lacks_is_a_lost_delta() -> None:
    value = PatternStats(1.0, 3)
    journal = [make_acked_delta(1, {FIRST: value}), make_acked_delta(2, {SECOND: value})]

    lost = find_lost_deltas(journal, StoredDevice(2, {FIRST: value}))

    assert lost == {2}


def test_a_cursor_behind_the_last_ack_is_a_lost_delta() -> None:
    journal = [make_acked_delta(1, {}), make_acked_delta(2, {})]

    assert find_lost_deltas(journal, StoredDevice(1, {})) == {2}


def test_an_older_value_is_a_lost_delta() -> None:
    old, new = PatternStats(1.0, 3), PatternStats(1.0, 4)
    journal = [make_acked_delta(1, {FIRST: old}), make_acked_delta(2, {FIRST: new})]

    assert find_lost_deltas(journal, StoredDevice(2, {FIRST: old})) == {2}


def test_a_removed_pattern_that_is_still_stored_is_a_lost_delta() -> None:
    value = PatternStats(1.0, 3)
    journal = [make_acked_delta(1, {FIRST: value}), make_acked_delta(2, {}, removed=(FIRST,))]

    assert find_lost_deltas(journal, StoredDevice(2, {FIRST: value})) == {2}


def test_a_shard_that_applied_more_than_its_cursors_moved_applied_twice() -> None:
    assert DeltaCounts(applied=12, distinct=10).duplicates == 2


def test_a_household_signals_four_films_an_hour_at_most() -> None:
    names = np.array([f"film:{number}" for number in range(6)])
    six = np.arange(6)
    ones = np.ones(6, np.float32)
    hour = 100
    viewings = Viewings(
        households=np.zeros(6, np.int64),
        content_ids=names,
        content_rows=six.copy(),
        ratings=ones.copy(),
        timestamps=six.copy(),
        watch_percentages=ones.copy(),
        engagements=ones.copy(),
    )

    signals = compute_signals(viewings, hour * 3600 + six)

    assert signals == {(hour, f"film:{number}"): 1 for number in range(4)}
    assert not filter_recent(signals, hour + 1)


def test_a_device_that_is_not_stored_has_lost_every_delta() -> None:
    journal = [make_acked_delta(1, {}), make_acked_delta(2, {})]

    assert find_lost_deltas(journal, None) == {1, 2}


def test_nothing_is_lost_when_the_store_is_as_the_journal_says() -> None:
    value = PatternStats(1.0, 3)
    journal = [
        make_acked_delta(1, {FIRST: value}),
        make_acked_delta(2, {SECOND: value}, removed=(FIRST,)),
    ]

    assert find_lost_deltas(journal, StoredDevice(2, {SECOND: value})) == set()
