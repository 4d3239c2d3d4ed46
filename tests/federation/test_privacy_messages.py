"""Operators receive what each week spent of the privacy budget, by mechanism."""

from __future__ import annotations

import pytest

from constellation.federated.contribution import ContributionBounds
from constellation.federated.weeks import find_week_start
from federation.privacy import gaussian
from federation.privacy.budget import Mechanism, make_budget
from federation.privacy.mode import PrivacyMode
from federation.privacy_messages import from_privacy

WEEK = 2965
NOW = float(find_week_start(WEEK)) + 3600.0
BOUNDS = ContributionBounds(32, 4)


def test_without_a_budget_nothing_is_said_but_that() -> None:
    message = from_privacy(None, NOW, 4)

    assert not message.enabled
    assert not message.weeks


def test_weeks_come_latest_first_and_a_release_is_in_its_own() -> None:
    mode = PrivacyMode(make_budget(2.0, 1e-10, gaussian), gaussian)
    plan = mode.plan(1, NOW)
    row = plan.spend(Mechanism.LIKES, WEEK, BOUNDS)
    assert row is not None
    mode.adopt(plan.rows)

    message = from_privacy(mode, NOW + 7 * 86_400, 2)

    assert (message.enabled, message.epsilon, message.delta) == (True, 2.0, 1e-10)
    present, before = message.weeks
    assert (present.begins_at.seconds, before.begins_at.seconds) == (
        find_week_start(WEEK + 1),
        find_week_start(WEEK),
    )
    assert (present.epsilon_spent, present.epsilon_left) == (0.0, 2.0)
    assert 0.0 < before.epsilon_spent < 2.0
    assert before.epsilon_spent + before.epsilon_left == pytest.approx(2.0)
    spending = {each.mechanism: each for each in before.mechanisms}
    assert set(spending) == {each.value for each in Mechanism}
    likes = spending[Mechanism.LIKES.value]
    assert (likes.releases, likes.noise_scale) == (1, row.scale)
    assert 0.0 < likes.rho_spent <= likes.rho_budget
    assert spending[Mechanism.PAIRS.value].releases == 0
