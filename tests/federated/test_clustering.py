from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.encoding import DIMENSION
from constellation.federated.clustering import cluster_points, find_nearest, refine_centres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings


def draw_directions(count: int, seed: int = 0) -> Embeddings:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION))
    return normalize(vectors)


def normalize(vectors: NDArray[np.float64]) -> Embeddings:
    found: Embeddings = (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)
    return found


def draw_around(centres: Embeddings, each: int, noise: float, seed: int = 1) -> Embeddings:
    """Return `each` points around each centre, one centre after the other."""
    random = np.random.default_rng(seed)
    spread = random.standard_normal((len(centres) * each, DIMENSION)) * noise / np.sqrt(DIMENSION)
    return normalize(np.repeat(centres, each, axis=0) + spread)


def test_the_nearest_anchor_is_that_of_the_largest_cosine() -> None:
    points, anchors = (
        draw_directions(10_000),
        draw_directions(7, seed=2),
    )  # more points than one block

    rows, cosines = find_nearest(points, anchors)

    exact = points.astype(np.float64) @ anchors.astype(np.float64).T
    assert np.allclose(exact[np.arange(len(points)), rows], exact.max(axis=1), atol=2e-6)
    assert np.allclose(cosines, exact.max(axis=1), atol=2e-6)


@pytest.mark.parametrize(("count", "anchors"), [(1, 3), (5, 7), (9000, 65), (16_385, 130)])
def test_of_equally_near_anchors_the_first_is_taken(count: int, anchors: int) -> None:
    once = draw_directions(anchors)

    rows, _ = find_nearest(draw_directions(count, seed=1), np.concatenate([once, once]))

    assert rows.max() < anchors


def test_no_points_have_no_nearest_anchor() -> None:
    rows, cosines = find_nearest(draw_directions(0), draw_directions(3))

    assert len(rows) == len(cosines) == 0


def test_a_centre_moves_to_the_weighted_mean_of_its_points() -> None:
    points = draw_directions(50)
    weights = np.random.default_rng(3).random(50)

    centres = refine_centres(points, weights, points[:1], 1)

    mean = weights @ points.astype(np.float64)
    assert float(centres[0] @ (mean / np.linalg.norm(mean))) > 0.999999


def test_a_centre_without_points_stays() -> None:
    centres = np.stack([draw_directions(1)[0], -draw_directions(1)[0]])

    moved = refine_centres(draw_around(centres[:1], 20, 0.5), np.ones(20), centres, 3)

    assert (moved[1] == centres[1]).all()


def test_more_points_than_are_added_together_are_all_added() -> None:
    points = draw_around(draw_directions(3), 1000, 0.5)
    rows, _ = find_nearest(points, draw_directions(3))

    centres = refine_centres(points, np.ones(len(points)), draw_directions(3), 1)

    means = normalize(
        np.stack([points[rows == row].astype(np.float64).sum(axis=0) for row in range(3)])
    )
    assert np.allclose(centres, means, atol=1e-6)


def test_local_clusters_do_not_mix_tastes() -> None:
    points = draw_around(draw_directions(8), 100, 0.5)

    labels = cluster_points(points, np.ones(len(points)), 96, 0)

    truth = np.repeat(np.arange(8), 100)
    assert all(len(np.unique(truth[labels == label])) == 1 for label in np.unique(labels))


def test_the_same_points_give_the_same_clusters() -> None:
    points, weights = draw_directions(500), np.random.default_rng(4).random(500)

    first, second = (cluster_points(points, weights, 96, 7) for _ in range(2))

    assert (first == second).all()


def test_points_that_clusters_are_not_trained_with_are_assigned() -> None:
    points = draw_around(draw_directions(2), 10_500, 0.5)

    labels = cluster_points(points, np.ones(len(points)), 2, 0)

    assert np.unique(labels[:10_500]).tolist() != np.unique(labels[10_500:]).tolist()
    assert len(labels) == 21_000


@pytest.mark.parametrize("limit", [1, 5, 96])
def test_no_more_local_clusters_than_allowed(limit: int) -> None:
    labels = cluster_points(draw_directions(400), np.ones(400), limit, 0)

    assert labels.max() < limit


@pytest.mark.parametrize(
    "points",
    [draw_directions(1), draw_directions(40), np.repeat(draw_directions(1), 40, axis=0)],
    ids=["one", "some", "equal"],
)
def test_points_without_weight_are_clustered_too(points: Embeddings) -> None:
    labels = cluster_points(points, np.zeros(len(points)), 96, 0)

    assert labels.tolist() == [0] * len(points)


def test_no_points_have_no_local_clusters() -> None:
    assert cluster_points(draw_directions(0), np.ones(0), 96, 0).tolist() == []
