"""When the next commit may begin."""

from __future__ import annotations

import pytest

from constellation.core.ingest.commit_spacing import (
    COMPANY_DELTAS,
    MAX_WAIT_SECONDS,
    MIN_INTERVAL_SECONDS,
    WAIT_PER_COST,
    CommitSpacing,
)

_MANY = COMPANY_DELTAS + 1


class _Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _commit(spacing: CommitSpacing, clock: _Clock, delta_count: int, seconds: float) -> None:
    with spacing.measure(delta_count):
        clock.now += seconds


def test_the_first_commit_waits_for_nothing() -> None:
    assert CommitSpacing(_Clock()).remaining_seconds() <= 0


@pytest.mark.parametrize("seconds", [0.0, 0.004, 0.3])
@pytest.mark.parametrize("delta_count", [1, COMPANY_DELTAS])
def test_a_lone_device_waits_no_longer_than_the_least_interval(
    delta_count: int, seconds: float
) -> None:
    clock = _Clock()
    spacing = CommitSpacing(clock)
    _commit(spacing, clock, delta_count, seconds)
    assert spacing.remaining_seconds() == pytest.approx(MIN_INTERVAL_SECONDS - seconds)


def test_a_commit_that_had_company_is_followed_by_a_wait_in_proportion_to_its_cost() -> None:
    clock = _Clock()
    spacing = CommitSpacing(clock)
    _commit(spacing, clock, _MANY, 0.008)
    assert spacing.remaining_seconds() == pytest.approx(WAIT_PER_COST * 0.008)


@pytest.mark.parametrize("seconds", [0.05, 5.0])
def test_no_commit_is_followed_by_a_wait_longer_than_the_bound(seconds: float) -> None:
    clock = _Clock()
    spacing = CommitSpacing(clock)
    _commit(spacing, clock, _MANY, seconds)
    assert spacing.remaining_seconds() == pytest.approx(MAX_WAIT_SECONDS)


def test_commits_that_cost_nothing_still_keep_the_least_interval() -> None:
    clock = _Clock()
    spacing = CommitSpacing(clock)
    _commit(spacing, clock, _MANY, 0.0)
    assert spacing.remaining_seconds() == pytest.approx(MIN_INTERVAL_SECONDS)


def test_a_commit_that_fails_is_followed_by_the_least_interval() -> None:
    clock = _Clock()
    spacing = CommitSpacing(clock)
    with pytest.raises(ValueError, match="lost"), spacing.measure(_MANY):
        raise ValueError("lost")
    assert spacing.remaining_seconds() == pytest.approx(MIN_INTERVAL_SECONDS)
