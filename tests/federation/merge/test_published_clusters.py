from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.encoding import quantise
from federation.merge.aggregates import MergedClusters, add_term_counts
from federation.merge.published_clusters import (
    PublishedCluster,
    PublishRules,
    RoundStamp,
    describe_clusters,
    keep_unchanged,
)
from federation.merge.terms import Terms
from tests.federation.aggregates import embedding, make_cluster_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STAMP = RoundStamp(generation=1, round_id=7, closed_at=1_800_000_000)
RULES = PublishRules(min_success=0.8, min_devices=50, min_shards=3, limit=1000)
PUBLISHED = PublishedCluster(
    cluster_id=1,
    revision=3,
    devices=100,
    shards=3,
    success_rate=0.9,
    codes=quantise(embedding(1).astype(np.float32)[None])[0].tobytes(),
    time_of_day=3,
    day_type=1,
    content_type=1,
    genres=("Drama",),
    content_ids=("film:1",),
    changed_at=1_700_000_000,
)


def merge_shards(
    devices: Sequence[int], contents: Sequence[Mapping[str, int]], terms: Terms
) -> MergedClusters:
    """Return clusters 1 to n that three shards agree on, each of them with a third of the devices.

    `contents` are the counts that each of the three shards reports.
    """
    rows = terms.intern_rows(make_cluster_rows(range(1, len(devices) + 1), devices, contents))
    return MergedClusters(
        rows.features,
        np.full(len(devices), 3),
        rows.features.devices,
        add_term_counts([rows.genres] * 3),
        add_term_counts([rows.contents] * 3),
    )


def describe(
    devices: Sequence[int],
    contents: Sequence[Mapping[str, int]] | None = None,
    rules: PublishRules = RULES,
) -> list[PublishedCluster]:
    terms = Terms.empty()
    merged = merge_shards(devices, contents or [{} for _ in devices], terms)
    ids = np.arange(1, len(devices) + 1, dtype=np.uint32)
    return describe_clusters(ids, merged, rules, terms, STAMP)


def test_a_cluster_is_described_by_its_sums() -> None:
    (cluster,) = describe([60], [{"film:1": 20}])

    assert cluster.devices == 60
    assert cluster.shards == 3
    assert cluster.success_rate == pytest.approx(0.9)
    assert cluster.context == (3, 1, 1)
    assert cluster.genres == ("Drama",)
    assert cluster.content_ids == ("film:1",)
    assert (cluster.revision, cluster.changed_at) == (7, 1_800_000_000)


def test_clusters_with_the_most_success_come_first() -> None:
    clusters = describe([60, 90, 70])

    assert [each.cluster_id for each in clusters] == [2, 3, 1]


@pytest.mark.parametrize(
    "rules",
    [
        replace(RULES, min_success=0.95),
        replace(RULES, min_devices=61),
        replace(RULES, min_shards=4),
    ],
)
def test_a_cluster_that_misses_a_gate_is_not_published(rules: PublishRules) -> None:
    assert describe([60]) != []
    assert describe([60], rules=rules) == []


def test_no_more_clusters_are_published_than_allowed() -> None:
    clusters = describe([60, 90, 70], rules=replace(RULES, limit=2))

    assert [each.cluster_id for each in clusters] == [2, 3]


def test_a_term_with_too_few_devices_is_not_published() -> None:
    (cluster,) = describe([60], [{"film:1": 17, "film:2": 16}])  # 51 and 48 in three shards

    assert cluster.content_ids == ("film:1",)


def test_a_term_that_too_few_shards_report_is_not_published() -> None:
    terms = Terms.empty()
    merged = merge_shards([60], [{"film:1": 60}], terms)
    one_shard = replace(merged, contents=replace(merged.contents, shards=np.array([1])))

    (cluster,) = describe_clusters(np.array([1], np.uint32), one_shard, RULES, terms, STAMP)

    assert cluster.content_ids == ()


def test_terms_with_the_most_devices_come_first_and_then_those_first_in_the_alphabet() -> None:
    counts = {"film:c": 20, "film:b": 20, "film:a": 30}

    (cluster,) = describe([60], [counts])

    assert cluster.content_ids == ("film:a", "film:b", "film:c")


def test_a_genre_needs_a_tenth_of_the_cluster() -> None:
    terms = Terms.empty()
    rows = make_cluster_rows([1], [1000])
    genres = terms.genres.intern_counts(
        replace(rows.genres, devices=np.array([33]))  # 99 of 1,000 in three shards
    )
    merged = replace(merge_shards([1000], [{}], terms), genres=add_term_counts([genres] * 3))

    (cluster,) = describe_clusters(np.array([1], np.uint32), merged, RULES, terms, STAMP)

    assert cluster.genres == ()


def test_a_context_without_a_majority_is_0() -> None:
    terms = Terms.empty()
    merged = merge_shards([60], [{}], terms)
    contexts = merged.features.contexts
    contexts[0, 2], contexts[0, 3] = contexts[0, 3] // 2, contexts[0, 3] - contexts[0, 3] // 2

    (cluster,) = describe_clusters(np.array([1], np.uint32), merged, RULES, terms, STAMP)

    assert cluster.context == (0, 1, 1)


def test_a_cluster_that_hardly_changed_stays_as_it_was_published() -> None:
    now = replace(PUBLISHED, revision=7, devices=140, success_rate=0.91)

    assert keep_unchanged([now], [PUBLISHED]) == [PUBLISHED]


@pytest.mark.parametrize(
    "now",
    [
        replace(PUBLISHED, revision=7, devices=151),
        replace(PUBLISHED, revision=7, success_rate=0.93),
        replace(PUBLISHED, revision=7, time_of_day=2),
        replace(PUBLISHED, revision=7, genres=()),
        replace(PUBLISHED, revision=7, content_ids=("film:2",)),
        replace(
            PUBLISHED,
            revision=7,
            codes=quantise(embedding(2).astype(np.float32)[None])[0].tobytes(),
        ),
    ],
)
def test_a_cluster_that_changed_is_published_anew(now: PublishedCluster) -> None:
    assert keep_unchanged([now], [PUBLISHED]) == [now]


def test_a_new_cluster_is_published() -> None:
    new = replace(PUBLISHED, cluster_id=9)

    assert keep_unchanged([new], [PUBLISHED]) == [new]
