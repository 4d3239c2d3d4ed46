from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.aggregate import AggregateHeader, AggregateVersion
from constellation.federated.fixed_point import WEIGHT_ONE
from federation.merge.aggregates import ShardAggregate
from federation.merge.candidates import (
    assign_candidates,
    collect_candidates,
    filter_candidates,
    merge_candidates,
)
from federation.merge.hourly_counts import HourlyWindow
from federation.merge.terms import Terms
from tests.federation.aggregates import (
    embedding,
    make_candidates,
    make_cluster_rows,
    shuffle_candidates,
)

if TYPE_CHECKING:
    from constellation.encoding import Embeddings


def make_anchors(*directions: int) -> Embeddings:
    anchors: Embeddings = np.stack([embedding(each) for each in directions]).astype(np.float32)
    return anchors


def make_aggregate(shard_id: int, devices: int) -> ShardAggregate:
    """Return the aggregate of a shard with that many devices in cluster 1, all of direction 1."""
    return ShardAggregate(
        AggregateVersion(shard_id, 1, 1),
        AggregateHeader("north", 1, 1, 0, devices),
        make_cluster_rows([1], [devices]),
        HourlyWindow(),
        0.0,
        f"shard-{shard_id}:1",
    )


def test_candidates_of_equal_sums_have_an_order_too() -> None:
    rows = make_candidates([(0, 3, 20), (0, 3, 20), (0, 3, 20)])
    rows.features.devices[:] = [4, 20, 90]
    rows.features.weights[:] = np.array([7, 20, 31]) * WEIGHT_ONE

    orders = [shuffle_candidates(rows, seed).to_canonical().features for seed in range(10)]

    assert len({each.devices.tobytes() + each.weights.tobytes() for each in orders}) == 1


def test_a_device_in_two_candidates_of_its_shard_is_not_counted_twice() -> None:
    rows = make_candidates([(0, 1, 20), (0, 1, 15), (1, 1, 10)])
    anchors = embedding(1).astype(np.float32)[None]

    total, shards = assign_candidates(rows, anchors)

    assert total.devices.tolist() == [30]
    assert total.weights.tolist() == [45 * WEIGHT_ONE]
    assert shards.tolist() == [2]


def test_no_candidates_have_no_sums() -> None:
    total, shards = assign_candidates(make_candidates([]), make_anchors(1, 2))

    assert total.devices.tolist() == [0, 0]
    assert shards.tolist() == [0, 0]


def test_candidates_are_collected_in_the_order_of_their_shards() -> None:
    offered = {4: make_cluster_rows([1], [40]), 2: make_cluster_rows([1, 2], [20, 21])}

    candidates = collect_candidates(offered)

    assert candidates.shard_ids.tolist() == [2, 2, 4]
    assert candidates.features.devices.tolist() == [20, 21, 40]


def test_nothing_offered_is_no_candidate() -> None:
    assert len(collect_candidates({}).features) == 0


def test_a_shard_may_offer_as_much_as_it_contributed() -> None:
    offered = {0: make_cluster_rows([7], [20], directions=[1])}
    ids = np.array([1], np.uint32)

    candidates = filter_candidates(offered, [make_aggregate(0, 20)], ids, make_anchors(1))

    assert candidates.features.devices.tolist() == [20]


def test_a_shard_that_offers_more_than_it_contributed_offers_nothing() -> None:
    offered = {0: make_cluster_rows([7], [21], directions=[1])}
    ids = np.array([1], np.uint32)

    candidates = filter_candidates(offered, [make_aggregate(0, 20)], ids, make_anchors(1))

    assert len(candidates.features) == 0


def test_a_shard_without_an_aggregate_offers_nothing() -> None:
    offered = {5: make_cluster_rows([7], [1], directions=[1])}
    ids = np.array([1], np.uint32)

    candidates = filter_candidates(offered, [make_aggregate(0, 20)], ids, make_anchors(1))

    assert candidates.shard_ids.tolist() == []


def test_candidates_of_a_heavy_shard_are_scaled_as_its_sums_are() -> None:
    aggregates = [make_aggregate(shard_id, devices) for shard_id, devices in ((0, 10), (1, 10))]
    aggregates.append(make_aggregate(2, 400))
    offered = {2: make_cluster_rows([7], [100], directions=[1])}
    ids = np.array([1], np.uint32)

    candidates = filter_candidates(offered, aggregates, ids, make_anchors(1))

    assert candidates.features.weights.tolist() == [10 * WEIGHT_ONE]  # a tenth, as 400 becomes 40
    assert candidates.features.devices.tolist() == [100]


def test_a_term_of_two_candidates_of_a_shard_is_not_counted_twice() -> None:
    terms = Terms.empty()
    first = make_cluster_rows([7, 8], [20, 15], [{"film:1": 12}, {"film:1": 9}], directions=[1, 1])
    second = make_cluster_rows([7], [10], [{"film:1": 5}], directions=[1])
    offered = {0: terms.intern_rows(first), 1: terms.intern_rows(second)}

    merged = merge_candidates(collect_candidates(offered), offered, make_anchors(1))

    assert merged.contents.counts.devices.tolist() == [12 + 5]
    assert merged.contents.shards.tolist() == [2]


def test_without_anchors_nothing_is_merged() -> None:
    offered = {0: Terms.empty().intern_rows(make_cluster_rows([7], [20]))}

    merged = merge_candidates(collect_candidates(offered), offered, make_anchors(1)[:0])

    assert len(merged.features) == 0
    assert merged.contents.counts.devices.tolist() == []
