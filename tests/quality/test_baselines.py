from __future__ import annotations

from quality.baselines import NewcomerCeiling, measure_baselines, measure_popularity
from tests.quality.samples import make_household


def test_popularity_counts_the_likes_of_the_others_only() -> None:
    others = [make_household([1, 2], [9]), make_household([2, 3], [9]), make_household([2, 3], [9])]
    newcomer = make_household([2, 5, 6], [3])

    row = measure_popularity(others, [newcomer], content_count=10)

    assert row.name == "popularity"
    assert row.quality.ndcg == 1.0  # 2 was seen, so that 3 comes first


def test_every_model_is_measured_on_the_same_households() -> None:
    group = {4: [0, 1, 2, 3], 0: [1, 2, 3, 4], 1: [0, 2, 3, 4], 2: [0, 1, 3, 4]}
    households = [make_household(watched, [wanted]) for wanted, watched in group.items()]

    rows = measure_baselines(households, content_count=8)

    assert [row.name for row in rows] == ["popularity", "item_knn", "ials", "ease", "recipe"]
    assert all(row.quality.households == 4 for row in rows)
    # each household lacks one of five films, which all the others like
    assert [row.quality.ndcg for row in rows[:4]] == [1.0] * 4


def test_the_ceiling_knows_the_first_views_of_a_newcomer_only() -> None:
    pairs = [make_household([0, 1], [9])] * 3 + [make_household([2, 3], [9])] * 3
    popular = [make_household([4], [9])] * 7
    newcomer = make_household([0, 2, 4], [1])

    ceiling = NewcomerCeiling([*pairs, *popular], [newcomer], content_count=10)

    assert ceiling.measure(1).ndcg == 1.0  # 1 belongs to 0
    assert ceiling.measure(0).ndcg == 1.0  # popularity alone: 1 and 3 are alike, 1 comes first


def test_the_ceiling_takes_as_much_popularity_as_helps() -> None:
    pairs = [make_household([0, 1], [9])] * 3
    popular = [make_household([4], [9])] * 7

    ceiling = NewcomerCeiling(
        [*pairs, *popular], [make_household([0], [4]), make_household([9], [4])], content_count=10
    )

    assert ceiling.measure(1).ndcg == 1.0
