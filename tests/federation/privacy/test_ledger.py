from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.federated.contribution import ContributionBounds
from constellation.federated.weeks import find_week, find_week_start
from federation.privacy.budget import RHO_ONE, Budget, Mechanism
from federation.privacy.ledger import BudgetSpentError, Ledger, LedgerRow

BUDGET = Budget(2.0, 1e-10, RHO_ONE // 20)
BOUNDS = ContributionBounds(32, 4)
WEEK = 2965
NOW = float(find_week_start(WEEK))


def spend(
    ledger: Ledger, mechanism: Mechanism, epoch: int, now: float = NOW, budget: Budget = BUDGET
) -> LedgerRow:
    return ledger.spend(budget, mechanism, epoch, BOUNDS, round_id=1, now=now)


def test_a_release_says_what_it_spent_and_on_what() -> None:
    ledger = Ledger()

    row = spend(ledger, Mechanism.PAIRS, WEEK)

    assert (row.week, row.mechanism, row.data_epoch, row.round_id) == (WEEK, "pairs", WEEK, 1)
    assert row.norm_squared == 32 * 31 // 2
    assert row.norm_squared / (2 * row.scale**2) <= row.rho
    assert ledger.rows == [row]
    assert ledger.count_units(WEEK) == ledger.count_units(WEEK, Mechanism.PAIRS) == row.units
    assert ledger.count_units(WEEK, Mechanism.LIKES) == ledger.count_units(WEEK + 1) == 0


def test_the_same_data_is_never_released_twice() -> None:
    ledger = Ledger()
    spend(ledger, Mechanism.HOURS, 7)

    with pytest.raises(AssertionError, match="hours 7 was released before"):
        spend(ledger, Mechanism.HOURS, 7)


def test_what_would_overspend_is_refused_and_leaves_the_ledger_as_it_was() -> None:
    ledger = Ledger()
    spend(ledger, Mechanism.PAIRS, 1)

    with pytest.raises(BudgetSpentError, match=r"pairs would spend a rho of .* of week 2965"):
        spend(ledger, Mechanism.PAIRS, 2)

    assert not ledger.has(Mechanism.PAIRS, 2)
    assert len(ledger.rows) == 1


def test_a_new_week_has_a_budget_of_its_own() -> None:
    ledger = Ledger()
    spend(ledger, Mechanism.PAIRS, WEEK)

    row = spend(ledger, Mechanism.PAIRS, WEEK + 1, now=float(find_week_start(WEEK + 1)))

    assert row.week == WEEK + 1


def test_a_budget_that_was_lowered_counts_what_was_spent_before() -> None:
    ledger = Ledger()
    spend(ledger, Mechanism.PAIRS, WEEK)

    with pytest.raises(BudgetSpentError, match="0 of"):
        spend(ledger, Mechanism.LIKES, WEEK, budget=Budget(0.5, 1e-10, BUDGET.units // 10))


def test_the_newest_data_of_each_mechanism_is_known() -> None:
    ledger = Ledger()
    assert ledger.find_newest_epoch(Mechanism.HOURS) is None
    for hour in (5, 9, 7):
        spend(ledger, Mechanism.HOURS, hour)

    assert ledger.find_newest_epoch(Mechanism.HOURS) == 9
    assert ledger.find_newest_epoch(Mechanism.LIKES) is None


ATTEMPTS = st.lists(
    st.tuples(
        st.sampled_from(Mechanism),
        st.integers(0, 400),
        st.floats(NOW, NOW + 14 * 86_400, exclude_max=True),
    ),
    max_size=400,
)


@given(attempts=ATTEMPTS)
def test_no_order_of_releases_spends_more_than_the_budget_of_a_week(
    attempts: list[tuple[Mechanism, int, float]],
) -> None:
    ledger = Ledger()
    for mechanism, epoch, now in attempts:
        if ledger.has(mechanism, epoch):
            continue
        before = ledger.count_units(find_week(now))
        try:
            row = spend(ledger, mechanism, epoch, now)
        except BudgetSpentError:
            assert before + BUDGET.get_units(mechanism) > BUDGET.units
        else:
            assert ledger.count_units(find_week(now)) == before + row.units

    for week in (WEEK, WEEK + 1):
        assert ledger.count_units(week) <= BUDGET.units
