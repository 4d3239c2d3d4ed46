from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from constellation_settop import Brain, RankingWeights
from examples.demo.households import to_settop_catalogue
from quality.devices import DeviceTask, Visit, open_pool, select_weights
from quality.metrics import LIMIT
from quality.schedule import ANY_TIME, make_views
from testing.catalogue import load_catalogue
from testing.viewings import load_viewings, select_households

if TYPE_CHECKING:
    from pathlib import Path


def test_a_source_that_is_left_out_has_weight_zero() -> None:
    weights = asdict(select_weights(lambda name: name.startswith("own")))

    defaults = asdict(RankingWeights())
    assert weights["own_nearness"] == defaults["own_nearness"] > 0
    assert {name for name, weight in weights.items() if weight} == {
        name for name, weight in defaults.items() if weight and name.startswith("own")
    }


async def test_a_device_in_a_process_recommends_what_a_brain_recommends(tmp_path: Path) -> None:
    films = load_catalogue()
    viewings = select_households(load_viewings(films.films), households=1)
    views = make_views(viewings, 1_800_000_000)
    brain = Brain(to_settop_catalogue(films))
    for view in views:
        brain.observe(view)
    expected = [choice.content_id for choice in brain.recommend(ANY_TIME, LIMIT + 2)]
    rows = brain.catalogue.find_rows(expected)
    visit = Visit(tmp_path, shard_map=None)

    with open_pool() as pool:
        (first,) = await pool.visit(visit, [DeviceTask("one", views)])
        again, without = await pool.visit(
            visit, [DeviceTask("one"), DeviceTask("two", views, rows[:2])]
        )

    assert first.tolist() == rows[:LIMIT].tolist()
    assert np.array_equal(again, first)
    assert without.tolist() == rows[2:].tolist()
