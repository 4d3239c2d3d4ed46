from __future__ import annotations

import numpy as np

from constellation.encoding import normalise_codes, quantise
from constellation.federated.aggregate import Anchors
from constellation.federated.published import (
    COLD_START_CLUSTERS,
    NEAR_CLUSTERS,
    PublishedClusters,
    PublishedGlobal,
    RoundKey,
)
from tests.deltas import embedding

COUNT = 150


def make_published() -> PublishedGlobal:
    """Return clusters whose centroids are the directions 0 to 149."""
    codes, _ = quantise(np.stack([embedding(direction) for direction in range(COUNT)]))
    small, numbers = np.zeros(COUNT, np.uint8), np.zeros(COUNT, np.uint32)
    ids = [number.to_bytes(16, "big") for number in range(COUNT)]
    none = [()] * COUNT
    clusters = PublishedClusters(
        ids, codes, np.zeros(COUNT, np.float32), numbers, small, small, small, numbers, none, none
    )
    anchors = Anchors(1, 1, numbers[:0], normalise_codes(codes[:0]))
    return PublishedGlobal(RoundKey(1, 1), anchors, clusters, (), closed_at=0)


def test_a_device_gets_the_clusters_nearest_to_any_of_its_tastes() -> None:
    tastes = np.stack([embedding(70), embedding(5)])

    found = make_published().find_nearest_clusters(tastes, 100)

    assert len(found) == NEAR_CLUSTERS
    assert set(found[:2].tolist()) == {5, 70}


def test_a_device_without_patterns_gets_the_strongest_clusters() -> None:
    found = make_published().find_nearest_clusters(np.empty((0, 384), np.float32), 1000)

    assert found.tolist() == list(range(COLD_START_CLUSTERS))


def test_no_device_gets_more_clusters_than_it_can_hold() -> None:
    published = make_published()

    assert len(published.find_nearest_clusters(np.empty((0, 384), np.float32), 3)) == 3
    assert len(published.find_nearest_clusters(embedding(1)[None], 3)) == 3


def test_a_later_generation_replaces_any_round_of_an_earlier_one() -> None:
    assert RoundKey() < RoundKey(1, 9) < RoundKey(2, 1) < RoundKey(2, 2)
