from __future__ import annotations

from constellation.federated.contribution import ContributionBounds
from constellation.federated.weeks import find_week_start
from federation.privacy import gaussian
from federation.privacy.budget import Budget, Mechanism, make_budget
from federation.privacy.mode import PrivacyMode

WEEK = 2965
NOW = float(find_week_start(WEEK))
BOUNDS = ContributionBounds(32, 4)


def make_mode() -> PrivacyMode:
    return PrivacyMode(make_budget(2.0, 1e-10, gaussian), gaussian)


def test_a_plan_spends_nothing_until_its_rows_are_durable() -> None:
    mode = make_mode()
    plan = mode.plan(1, NOW)
    row = plan.spend(Mechanism.LIKES, WEEK, BOUNDS)

    assert plan.rows == [row]
    assert not mode.ledger.rows
    assert not mode.plan(2, NOW).ledger.has(Mechanism.LIKES, WEEK)

    mode.adopt(plan.rows)

    assert mode.ledger.rows == [row]
    assert mode.plan(2, NOW).ledger.has(Mechanism.LIKES, WEEK)


def test_a_plan_says_what_it_refused() -> None:
    plan = make_mode().plan(1, NOW)
    assert plan.spend(Mechanism.PAIRS, WEEK, BOUNDS) is not None

    assert plan.spend(Mechanism.PAIRS, WEEK + 1, BOUNDS) is None

    assert len(plan.rows) == 1
    assert "pairs would spend" in plan.refusals[0]


def test_likes_are_needed_until_both_releases_of_the_week_are_done() -> None:
    mode = make_mode()
    plan = mode.plan(1, NOW)
    assert mode.needs_likes(NOW)
    for mechanism in (Mechanism.LIKES, Mechanism.PAIRS):
        plan.spend(mechanism, WEEK, BOUNDS)
        mode.adopt(plan.rows[-1:])
        assert mode.needs_likes(NOW) == (mechanism is Mechanism.LIKES)

    assert mode.needs_likes(float(find_week_start(WEEK + 1)))


def test_likes_are_not_asked_for_when_nothing_is_left_for_them() -> None:
    mode = make_mode()
    plan = mode.plan(1, NOW)
    plan.spend(Mechanism.PAIRS, WEEK - 1, BOUNDS)
    lowered = PrivacyMode(Budget(0.1, 1e-10, mode.budget.units // 100), gaussian)
    lowered.restore(plan.rows)

    assert not lowered.needs_likes(NOW)
