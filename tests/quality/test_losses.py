from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quality.losses import (
    RECIPE,
    LossStudy,
    Recipe,
    list_variants,
    publish_weights,
    round_to_int8,
    select_contribution,
)
from quality.models import count_likes, score_by_ease
from tests.quality.samples import make_household


def test_a_device_contributes_its_latest_liked_films() -> None:
    household = make_household([5, 6, 7, 8, 9], [1], [5.0, 4.0, 1.0, 3.5, 4.5])

    assert select_contribution(household, Recipe()).tolist() == [5, 6, 9]
    assert select_contribution(household, Recipe(contribution=2)).tolist() == [6, 9]
    assert select_contribution(household, Recipe(liked_from=3.5)).tolist() == [5, 6, 8, 9]


WEIGHTS = np.array([[0.0, 0.5, -0.6], [0.4, 0.0, 0.1], [0.2, 0.3, 0.0]])
PAIRS = np.array([[9.0, 5.0, 4.0], [5.0, 9.0, 1.0], [4.0, 1.0, 9.0]])


@pytest.mark.parametrize(
    ("recipe", "published"),
    [
        (Recipe(), WEIGHTS),
        (Recipe(floor=5), [[0, 0.5, 0], [0.4, 0, 0], [0, 0, 0]]),
        (Recipe(neighbours=1), [[0, 0, -0.6], [0.4, 0, 0], [0, 0.3, 0]]),
        (Recipe(has_negative=False, neighbours=1), [[0, 0.5, 0], [0.4, 0, 0], [0, 0.3, 0]]),
    ],
)
def test_only_some_weights_are_published(recipe: Recipe, published: list[list[float]]) -> None:
    assert publish_weights(WEIGHTS, PAIRS, recipe).tolist() == np.array(published).tolist()


def test_rounding_to_int8_has_one_scale_for_each_content_item() -> None:
    weights = np.array([[0.0, 1.27, -0.504], [0.0, 0.0, 0.0]])

    assert round_to_int8(weights) == pytest.approx(np.array([[0, 1.27, -0.5], [0, 0, 0]]))


def test_the_recipe_without_economies_is_ease() -> None:
    random = np.random.default_rng(7)
    households = [
        make_household(random.choice(12, 8, replace=False).tolist(), [14]) for _ in range(30)
    ]
    study = LossStudy(households, content_count=15)
    likes = count_likes([each.liked_rows for each in households], 15)
    scores = score_by_ease(likes)

    histories = np.stack([study.weigh_history(each, Recipe()) for each in households])
    _, weights = study.solve(Recipe())

    known = np.flatnonzero(likes.sum(axis=0) >= 3)
    assert known.tolist() == list(range(12))
    assert histories[:, known] @ weights == pytest.approx(scores[:, known])


def test_older_likes_count_less_with_a_half_life() -> None:
    household = make_household([3, 4, 5, 6], [1], [5.0, 1.0, 4.0, 5.0])
    study = LossStudy([household], content_count=8)

    plain = study.weigh_history(household, Recipe())
    fading = study.weigh_history(household, Recipe(half_life=1.0))
    disliking = study.weigh_history(household, Recipe(has_dislikes=True))

    assert plain.tolist() == [0, 0, 0, 1, 0, 1, 1, 0]
    assert fading.tolist() == [0, 0, 0, 0.25, 0, 0.5, 1, 0]
    assert disliking.tolist() == [0, 0, 0, 2.25, -1.75, 1.25, 2.25, 0]


def test_a_study_finds_what_similar_households_liked() -> None:
    others = [make_household([0, 1, 2, 3], [9]) for _ in range(5)]
    household = make_household([0, 1, 2], [3])

    quality = LossStudy([*others, household], content_count=10).measure(
        replace(RECIPE, floor=1, regularisation=1.0)
    )

    assert quality.hit_rate == pytest.approx(1 / 6)


def test_every_economy_is_varied_around_the_recipe() -> None:
    variants = list(list_variants())

    for economy in {economy for economy, _, _ in variants} - {"recipe", "contributed from rating"}:
        assert any(recipe == RECIPE for name, _, recipe in variants if name == economy)
    assert len({(economy, value) for economy, value, _ in variants}) == len(variants)
