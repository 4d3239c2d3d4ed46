from __future__ import annotations

import numpy as np
import pytest

from constellation.plots.projection import find_nearest, project
from tests.deltas import embedding


def test_similar_embeddings_are_close_together() -> None:
    noise = np.random.default_rng(1).normal(scale=0.01, size=(60, 384))
    anchors = np.stack([embedding(number) for number in range(3)])
    embeddings = (np.repeat(anchors, 20, axis=0) + noise).astype(np.float32)

    places = project(embeddings)

    middles = places.reshape(3, 20, 2).mean(axis=1)
    assert find_nearest(embeddings, anchors).tolist() == [0] * 20 + [1] * 20 + [2] * 20
    away = np.linalg.norm(places[:, None] - middles, axis=2)
    assert away.argmin(axis=1).tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert places.min() == 0
    assert places.max() == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 3])
def test_few_patterns_have_positions_of_their_own(count: int) -> None:
    places = project(np.stack([embedding(number) for number in range(count)]))

    assert len(np.unique(places, axis=0)) == count
