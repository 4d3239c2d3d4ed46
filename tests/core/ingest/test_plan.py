from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.ingest.deltas import Delta, RejectionReason, Verdict
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.store import HourlyCounts, Term
from constellation.core.table.hourly import RING_HOURS, digest_counts
from tests.core.ingest.planned_table import HOUR, NOW, PlannedTable
from tests.deltas import PatternSpec, device_id, make_delta


def test_a_first_delta_is_stored() -> None:
    shard = PlannedTable()

    planned = shard.commit(make_delta(0, 1, [PatternSpec(1), PatternSpec(2)]))

    assert [receipt.verdict for receipt in planned.receipts] == [Verdict.APPLIED]
    assert len(shard.read_success_rates()) == 2
    shard.require_consistent()


def test_a_delta_sent_twice_counts_once_also_within_one_group() -> None:
    shard = PlannedTable()

    planned = shard.commit(make_delta(0, 1, [PatternSpec(1)]), make_delta(0, 1, [PatternSpec(1)]))

    assert [r.verdict for r in planned.receipts] == [Verdict.APPLIED, Verdict.DUPLICATE]
    assert [r.through_seq for r in planned.receipts] == [1, 1]


def test_a_gap_changes_nothing() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1)]))

    planned = shard.commit(make_delta(0, 3, [PatternSpec(2)]))

    assert planned.receipts[0].verdict is Verdict.GAP
    assert planned.is_empty
    assert len(shard.read_success_rates()) == 1


def test_a_new_incarnation_must_begin_with_a_snapshot_that_replaces_everything() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1), PatternSpec(2)]))

    refused = shard.commit(make_delta(0, 1, [PatternSpec(3)], incarnation=2))
    accepted = shard.commit(
        make_delta(0, 7, [PatternSpec(2), PatternSpec(3)], incarnation=2, snapshot=True)
    )

    assert refused.receipts[0].verdict is Verdict.RESYNC
    assert accepted.receipts[0].through_seq == 7
    assert {key[1] for key in shard.read_success_rates()} == {
        PatternSpec(2).pattern_id,
        PatternSpec(3).pattern_id,
    }
    shard.require_consistent()


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (PatternSpec(1, success_rate=0.5), RejectionReason.BELOW_QUALITY),
        (PatternSpec(1, success_rate=1.5), RejectionReason.BAD_SUCCESS_RATE),
        (PatternSpec(1, success_rate=float("nan")), RejectionReason.BAD_SUCCESS_RATE),
        (PatternSpec(1, sample_count=0), RejectionReason.BAD_SAMPLE_COUNT),
        (PatternSpec(1, sample_count=2_000_000_000), RejectionReason.BAD_SAMPLE_COUNT),
        (PatternSpec(1, genres=tuple("abcdefghi")), RejectionReason.BAD_CONTEXT),
    ],
)
def test_a_bad_pattern_is_rejected_alone_and_its_delta_still_counts(
    pattern: PatternSpec, reason: RejectionReason
) -> None:
    shard = PlannedTable()

    receipt = shard.commit(make_delta(0, 1, [pattern, PatternSpec(2)])).receipts[0]

    assert receipt.verdict is Verdict.APPLIED
    assert [(r.pattern_id, r.reason) for r in receipt.rejections] == [(pattern.pattern_id, reason)]
    assert [key[1] for key in shard.read_success_rates()] == [PatternSpec(2).pattern_id]
    shard.require_consistent()


def test_a_rejected_revision_also_ends_the_older_one() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1)]))

    shard.commit(make_delta(0, 2, [PatternSpec(1, success_rate=0.2)]))

    assert shard.read_success_rates() == {}
    shard.require_consistent()


def test_a_device_keeps_no_more_patterns_than_it_may() -> None:
    shard = PlannedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(n) for n in range(4)]))

    receipt = shard.commit(make_delta(0, 2, [PatternSpec(n) for n in range(3, 8)])).receipts[0]

    assert [r.reason for r in receipt.rejections] == [RejectionReason.TOO_MANY_PATTERNS] * 3
    assert len(shard.read_success_rates()) == 5
    shard.require_consistent()


def test_a_full_shard_rejects_new_patterns_and_refuses_new_devices() -> None:
    rules = Rules(max_devices=2, max_patterns=3)
    shard = PlannedTable(rules)

    first = shard.commit(
        make_delta(0, 1, [PatternSpec(n) for n in range(4)]), make_delta(1, 1), make_delta(2, 1)
    )

    assert [r.reason for r in first.receipts[0].rejections] == [RejectionReason.SHARD_FULL]
    assert [r.verdict for r in first.receipts] == [Verdict.APPLIED] * 2 + [Verdict.REFUSED]
    assert shard.commit(make_delta(0, 2, removed=[0])).receipts[0].verdict is Verdict.APPLIED
    shard.require_consistent()


def test_signals_count_distinct_devices_and_at_most_four_an_hour() -> None:
    shard = PlannedTable()
    signals = [("a", HOUR), ("a", HOUR), ("b", HOUR), ("c", HOUR), ("d", HOUR), ("e", HOUR)]

    receipts = shard.commit(
        make_delta(0, 1, signals=signals),
        make_delta(1, 1, signals=[("a", HOUR), ("a", HOUR - 1), ("a", HOUR - 500)]),
    ).receipts

    assert [receipt.signals_dropped for receipt in receipts] == [2, 2]
    number = shard.table.vocabulary.number(TermKind.CONTENT, "a")
    assert shard.ring.count(TermKind.CONTENT, HOUR, number) == 2


def test_a_signal_of_the_next_hour_counts_now_and_ends_no_hour() -> None:
    """A device whose clock is ahead once dropped the oldest hour of everybody's window."""
    shard = PlannedTable()
    oldest = HOUR - RING_HOURS + 1
    shard.commit(make_delta(0, 1, signals=[("a", oldest)]), now=NOW)

    receipt = shard.commit(make_delta(1, 1, signals=[("a", HOUR + 1)]), now=NOW).receipts[0]

    number = shard.table.vocabulary.number(TermKind.CONTENT, "a")
    counts = [shard.ring.count(TermKind.CONTENT, hour, number) for hour in (oldest, HOUR, HOUR + 1)]
    assert (receipt.signals_dropped, counts) == (0, [1, 1, 0])


def test_signals_count_a_device_once_for_each_genre_and_hour() -> None:
    shard = PlannedTable()
    contents = [Term(TermKind.CONTENT, 1, "a"), Term(TermKind.CONTENT, 2, "b")]
    shard.table.vocabulary.add(
        [*contents, Term(TermKind.GENRE, 1, "drama"), Term(TermKind.GENRE, 2, "noir")]
    )
    shard.table.content_genres[1:3, :2] = [[1, 0], [2, 1]]

    shard.commit(
        make_delta(0, 1, signals=[("a", HOUR - 1), ("a", HOUR)]),
        make_delta(1, 1, signals=[("c", HOUR)]),
    )
    shard.commit(make_delta(0, 2, signals=[("b", HOUR)]), make_delta(1, 2, signals=[("b", HOUR)]))

    counts = [
        [shard.ring.count(TermKind.GENRE, hour, genre) for genre in (1, 2)]
        for hour in (HOUR - 1, HOUR)
    ]
    assert counts == [[1, 0], [2, 2]]
    assert shard.ring.count(TermKind.CONTENT, HOUR, 2) == 2


def test_an_expired_device_leaves_nothing_behind() -> None:
    shard = PlannedTable()
    shard.commit(
        make_delta(0, 1, [PatternSpec(1, contents=("x",))]), make_delta(1, 1, [PatternSpec(1)])
    )

    shard.expire(0)

    assert shard.table.find_device(device_id(0)) == -1
    assert [key[0] for key in shard.read_success_rates()] == [device_id(1)]
    shard.require_consistent()


PATTERNS = st.builds(
    PatternSpec,
    number=st.integers(0, 7),
    direction=st.integers(0, 3),
    success_rate=st.sampled_from([0.5, 0.75, 0.85, 0.95]),
    contents=st.lists(st.sampled_from("abcde"), max_size=3, unique=True).map(tuple),
)
DELTAS = st.builds(
    make_delta,
    device=st.integers(0, 4),
    seq=st.integers(1, 6),
    upserts=st.lists(PATTERNS, max_size=4),
    removed=st.lists(st.integers(0, 7), max_size=2),
    snapshot=st.booleans(),
    signals=st.lists(st.tuples(st.sampled_from("abcde"), st.integers(HOUR - 1, HOUR)), max_size=3),
    withdrawn=st.lists(st.sampled_from("abcde"), max_size=2),
    incarnation=st.sampled_from([1, 1, 1, 2]),
)


@settings(max_examples=150, deadline=None)
@given(groups=st.lists(st.lists(DELTAS, min_size=1, max_size=5), max_size=6))
def test_groups_of_deltas_equal_the_same_deltas_one_at_a_time(groups: list[list[Delta]]) -> None:
    together, alone = PlannedTable(), PlannedTable()

    for group in groups:
        verdicts = [receipt.verdict for receipt in together.commit(*group).receipts]
        assert verdicts == [alone.commit(one).receipts[0].verdict for one in group]

        together.require_consistent()
        alone.require_consistent()
    if not any(len(holding) == 5 for holding in _group_by_device(alone).values()):
        assert together.read_success_rates() == alone.read_success_rates()


def _group_by_device(shard: PlannedTable) -> dict[bytes, list[bytes]]:
    by_device: dict[bytes, list[bytes]] = {}
    for device, pattern in shard.read_success_rates():
        by_device.setdefault(device, []).append(pattern)
    return by_device


def test_a_clock_that_goes_back_leaves_the_digest_that_of_the_stored_counts() -> None:
    """A commit in the future deletes hours, which a late signal must not bring back."""
    shard = PlannedTable()
    stored: dict[tuple[int, ...], int] = {}

    def commit(seq: int, now: float, hour: int | None) -> int:
        signals = [] if hour is None else [("a", hour)]
        plan = shard.commit(make_delta(seq % 3, seq, signals=signals, snapshot=True), now=now)
        counts = plan.writes.counts
        keys = np.column_stack((counts.hours, counts.kinds, counts.numbers)).tolist()
        stored.update(zip(map(tuple, keys), counts.devices.tolist(), strict=True))
        for key in [each for each in stored if each[0] < plan.writes.oldest_hour]:
            del stored[key]
        return plan.receipts[0].signals_dropped

    later = NOW + 8 * 86_400
    dropped = [
        commit(1, NOW, HOUR),
        commit(2, later, None),
        commit(3, NOW, HOUR),
        commit(4, later, HOUR + 8 * 24),
    ]

    columns = np.array([(*key, devices) for key, devices in stored.items()], np.uint32).T
    counts = HourlyCounts(columns[0], columns[1].astype(np.uint8), columns[2], columns[3])
    assert dropped == [0, 0, 1, 0]
    assert shard.table.totals.count_digest == digest_counts(counts) == shard.ring.digest
