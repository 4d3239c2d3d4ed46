from __future__ import annotations

import numpy as np

from constellation.core.device_update import (
    ClusterChoice,
    DeviceUpdate,
    HeldState,
    SimilarChoice,
    compute_device_update,
)
from constellation.core.global_state import GlobalVersion, TrendChange
from constellation.core.index.similar import SimilarPatterns
from constellation.core.related_content import PopularChoice, RelatedChoice
from constellation.core.rows import PATTERN
from constellation.federated.published import PublishedClusters

VERSION = GlobalVersion(1, 2)
A, B, C = (bytes([letter]) * 16 for letter in b"abc")


def make_similar(*pseudonyms: bytes) -> SimilarPatterns:
    count = len(pseudonyms)
    return SimilarPatterns(np.zeros(count, PATTERN), np.ones(count, np.float32), pseudonyms)


def make_clusters(*ids: bytes) -> PublishedClusters:
    count = len(ids)
    small, numbers = np.zeros(count, np.uint8), np.zeros(count, np.uint32)
    codes = np.ones((count, 384), np.int8)
    rates = np.zeros(count, np.float32)
    none = [()] * count
    return PublishedClusters(ids, codes, rates, numbers, small, small, small, numbers, none, none)


def compute(
    held: HeldState, similar: SimilarPatterns, choice: ClusterChoice | None = None
) -> DeviceUpdate:
    trends = TrendChange(VERSION, base=VERSION, upserts=(), removed_subjects=(), trend_count=0)
    chosen = SimilarChoice(similar)
    return compute_device_update(held, trends, chosen, choice, RelatedChoice(), PopularChoice())


def test_a_device_gets_the_similar_patterns_that_it_lacks() -> None:
    update = compute(HeldState(similar=frozenset({A, C})), make_similar(A, B))

    assert update.similar.pseudonyms == [B]
    assert update.removed_similar == {C}
    assert update.held == HeldState(VERSION, frozenset({A, B}))


def test_a_device_gets_the_chosen_clusters_that_it_lacks() -> None:
    choice = ClusterChoice(make_clusters(A, B, C), [2, 0])

    update = compute(HeldState(clusters=frozenset({A, B})), make_similar(), choice)

    assert update.clusters is not None
    assert update.clusters.positions == [2]
    assert update.removed_clusters == {B}
    assert update.held.clusters == {A, C}


def test_without_a_published_global_state_a_device_drops_its_clusters() -> None:
    update = compute(HeldState(clusters=frozenset({A})), make_similar())

    assert update.clusters is None
    assert update.removed_clusters == {A}


def test_after_an_update_a_device_lacks_nothing() -> None:
    choice = ClusterChoice(make_clusters(A, B), [1, 0])
    first = compute(HeldState(), make_similar(A, B), choice)

    second = compute(first.held, make_similar(B, A), choice)

    assert not second.similar.pseudonyms
    assert not second.removed_similar
    assert second.clusters is not None
    assert not second.clusters.positions
    assert second.held == first.held
