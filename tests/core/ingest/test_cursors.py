from __future__ import annotations

import pytest

from constellation.core.ingest.cursors import (
    MAX_SEQ_JUMP,
    Cursor,
    Expectation,
    compute_expectation,
    judge_delta,
)
from constellation.core.ingest.deltas import Verdict
from tests.deltas import make_delta

AT_FIVE = Cursor(incarnation=1, seq=5)


@pytest.mark.parametrize(
    ("seq", "verdict"),
    [
        (1, Verdict.DUPLICATE),
        (5, Verdict.DUPLICATE),
        (6, Verdict.APPLIED),
        (7, Verdict.GAP),
    ],
)
def test_only_the_next_delta_applies(seq: int, verdict: Verdict) -> None:
    assert judge_delta(make_delta(0, seq), AT_FIVE) is verdict


def test_a_snapshot_may_follow_a_gap_but_not_repeat() -> None:
    assert judge_delta(make_delta(0, 9, snapshot=True), AT_FIVE) is Verdict.APPLIED
    assert judge_delta(make_delta(0, 5, snapshot=True), AT_FIVE) is Verdict.DUPLICATE


def test_a_snapshot_cannot_use_up_the_numbers_of_a_device() -> None:
    near, far = 5 + MAX_SEQ_JUMP, 6 + MAX_SEQ_JUMP

    assert judge_delta(make_delta(0, near, snapshot=True), AT_FIVE) is Verdict.APPLIED
    assert judge_delta(make_delta(0, far, snapshot=True), AT_FIVE) is Verdict.GAP


def test_another_incarnation_begins_with_a_snapshot() -> None:
    assert judge_delta(make_delta(0, 6, incarnation=2), AT_FIVE) is Verdict.RESYNC
    assert judge_delta(make_delta(0, 1, incarnation=2), AT_FIVE) is Verdict.RESYNC
    snapshot = make_delta(0, 1, incarnation=2, snapshot=True)
    assert judge_delta(snapshot, AT_FIVE) is Verdict.APPLIED


def test_an_unknown_device_begins_with_its_first_delta_or_a_snapshot() -> None:
    assert judge_delta(make_delta(0, 1), None) is Verdict.APPLIED
    assert judge_delta(make_delta(0, 2), None) is Verdict.RESYNC
    assert judge_delta(make_delta(0, 2, snapshot=True), None) is Verdict.APPLIED


@pytest.mark.parametrize(
    ("cursor", "incarnation", "last_acked_seq", "expected"),
    [
        (None, 1, 0, Expectation(1, full_resync=False)),
        (None, 1, 3, Expectation(4, full_resync=True)),
        (AT_FIVE, 1, 5, Expectation(6, full_resync=False)),
        (AT_FIVE, 1, 2, Expectation(6, full_resync=False)),
        (AT_FIVE, 1, 8, Expectation(9, full_resync=True)),
        (AT_FIVE, 2, 5, Expectation(6, full_resync=True)),
    ],
)
def test_a_device_that_saw_more_acked_than_is_stored_resyncs(
    cursor: Cursor | None, incarnation: int, last_acked_seq: int, expected: Expectation
) -> None:
    assert compute_expectation(cursor, incarnation, last_acked_seq) == expected
