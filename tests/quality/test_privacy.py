from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from quality.document import COMMAND, PAGE, format_privacy
from quality.figures import load_privacy
from quality.privacy import EPSILONS, FLEETS, PrivacyStudy, Setup, list_choices
from testing.page_blocks import replace_block
from tests.quality.samples import make_household

if TYPE_CHECKING:
    from quality.split import Household


def make_fleet(count: int = 40, films: int = 24) -> list[Household]:
    """Return households of two tastes: each liked most films of its own, and wants the others."""
    random = np.random.default_rng(5)
    households = []
    for number in range(count):
        own = np.flatnonzero(np.arange(films) % 2 == number % 2)
        shuffled = random.permutation(own).tolist()
        households.append(make_household(shuffled[:8], shuffled[8:]))
    return households


def test_more_devices_bear_the_same_noise_better() -> None:
    study = PrivacyStudy(make_fleet(), 24)

    exact, small, large = (
        study.measure("", devices, Setup(epsilon=epsilon))
        for devices, epsilon in ((20_000, None), (0, 2.0), (20_000, 2.0))
    )

    assert exact.related.ndcg > 0.9
    assert (small.contents, small.related.ndcg) == (0, 0)  # 40 households pass no threshold
    assert large.related.ndcg > 0.9 * exact.related.ndcg
    assert (exact.pairs_noise, large.contents) == (0, 24)


def test_a_smaller_epsilon_needs_more_noise() -> None:
    study = PrivacyStudy(make_fleet(), 24)

    noises = [study.measure("", 0, Setup(epsilon=each)).pairs_noise for each in (0.5, 2.0, 8.0)]

    assert noises == sorted(noises, reverse=True)


def test_the_page_shows_the_committed_costs() -> None:
    page = PAGE.read_text()

    assert replace_block(page, "privacy", COMMAND, format_privacy(load_privacy())) == page, (
        "run `make quality CASE=privacy`: docs/quality.md and quality/figures.json differ"
    )


def test_the_committed_costs_are_those_of_every_fleet_epsilon_and_choice() -> None:
    result = load_privacy()

    assert result.split == "test"
    assert [row.epsilon for row in result.rows] == [None, *reversed(EPSILONS)] * len(FLEETS)
    assert [row.label for row in result.choices] == [label for label, _ in list_choices()]


def test_a_hundred_thousand_devices_keep_nine_tenths_of_the_quality_at_an_epsilon_of_two() -> None:
    rows = {row.epsilon: row for row in load_privacy().rows if 90_000 < row.devices < 110_000}
    chosen = load_privacy().choices[0]

    assert rows[2.0].related.ndcg >= 0.9 * rows[None].related.ndcg
    assert chosen.related.ndcg == pytest.approx(rows[2.0].related.ndcg, rel=0.2)
