from __future__ import annotations

import pytest

from quality.figures import load_chain, load_losses
from quality.report import list_chain_measurements, list_loss_measurements


def test_every_figure_stands_beside_that_of_popularity() -> None:
    result = load_chain()
    quality = {row.name: row.quality for row in [*result.baselines, *result.devices]}

    measurements = {each.name: each for each in list_chain_measurements(result)}

    for name, each in quality.items():
        found = measurements[f"test_{name}_ndcg_at_10"]
        assert found.value == each.ndcg
        assert found.baseline_value == quality["popularity"].ndcg
        assert found.ratio == pytest.approx(each.ndcg / quality["popularity"].ndcg)
        assert measurements[f"test_{name}_hit_at_10"].value == each.hit_rate
    for point in result.curve:
        found = measurements[f"test_after_{point.views}_views_ndcg_at_10"]
        assert found.value == point.quality.ndcg


def test_every_loss_stands_beside_ease() -> None:
    result = load_losses()

    measurements = list_loss_measurements(result)

    assert len({each.name for each in measurements}) == len(result.losses)
    assert {each.baseline_value for each in measurements} == {result.losses[0].quality.ndcg}
