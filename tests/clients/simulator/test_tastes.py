from __future__ import annotations

import numpy as np

from constellation_settop.simulator.tastes import Tastes
from tests.clients.samples import make_catalogue


def test_a_household_watches_mostly_what_is_alike() -> None:
    random = np.random.default_rng(5)
    tastes = Tastes(make_catalogue(themes=20, contents=300), random)
    household = tastes.draw_household(random)

    drawn = [tastes.draw_content(household, random) for _ in range(400)]

    themes = [content_id.split("-")[0] for content_id, _ in drawn]
    counts = sorted((themes.count(each) for each in set(themes)), reverse=True)
    assert sum(counts[:3]) > 0.75 * len(drawn)
    assert all(0 <= share <= 1 for _, share in drawn)


def test_a_catalogue_of_one_content_item_is_enough() -> None:
    random = np.random.default_rng(5)
    tastes = Tastes(make_catalogue(themes=1, contents=1), random)

    assert tastes.draw_content(tastes.draw_household(random), random)[0] == "0-0"
