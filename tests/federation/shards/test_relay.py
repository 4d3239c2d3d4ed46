from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings

from federation.merge.terms import Terms
from federation.shards.relay import from_aggregate, to_aggregate, to_chunks
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.joined_shards import HOUR, JoinedShards, draw_histories

if TYPE_CHECKING:
    from constellation.federated.aggregate import AggregateUpdate


@settings(max_examples=40, deadline=None)
@given(draw_histories())
def test_the_journal_gives_back_what_was_stored(updates: list[AggregateUpdate]) -> None:
    known, restored = JoinedShards(), JoinedShards()
    for each in updates:
        known.apply_update(each)

    for shard_id, aggregate in known.shards.items():
        stored = from_aggregate(aggregate, known.terms)
        restored.shards[shard_id] = to_aggregate(stored, restored.terms)

    assert restored.to_sums([1, 2, 3, 4]) == known.to_sums([1, 2, 3, 4])
    assert {shard_id: each.version for shard_id, each in restored.shards.items()} == {
        shard_id: each.version for shard_id, each in known.shards.items()
    }


def make_shard_with_changes() -> JoinedShards:
    """Return shard 0 at version 2, whose last update changed cluster 2 and the count of "b"."""
    known = JoinedShards()
    known.apply_update(make_update(0, make_cluster_rows([1, 2], [5, 6]), {("a", HOUR): 3}))
    rows = make_cluster_rows([2], [7], version=2)
    known.apply_update(make_update(0, rows, {("b", HOUR): 4}, version=2, base_version=1))
    return known


def test_a_federation_above_gets_only_what_changed_after_its_version() -> None:
    known = make_shard_with_changes()

    header, clusters, hours = list(to_chunks(known.shards[0], 1, known.terms))

    assert header.header.base_version == 1
    assert list(clusters.clusters.cluster_ids) == [2]
    assert list(hours.hours.content_ids) == ["b"]


def test_a_federation_above_with_an_unknown_version_gets_everything() -> None:
    known = make_shard_with_changes()

    header, clusters, hours = list(to_chunks(known.shards[0], 99, known.terms))

    assert header.header.base_version == 0
    assert list(clusters.clusters.cluster_ids) == [1, 2]
    assert list(hours.hours.content_ids) == ["a", "b"]


def test_the_age_of_an_aggregate_is_passed_on() -> None:
    known = make_shard_with_changes()

    header = next(to_chunks(known.shards[0], 0, known.terms, age_seconds=90))

    assert header.header.age_seconds == 90


def test_candidates_are_passed_on() -> None:
    known = make_shard_with_changes()
    candidates = known.terms.intern_rows(make_cluster_rows([7], [8]))

    chunks = list(to_chunks(known.shards[0], 0, known.terms, candidates=candidates))

    assert chunks[0].header.candidate_count == 1
    assert list(chunks[-1].candidates.cluster_ids) == [7]


def test_genres_keep_their_texts_on_the_way_to_a_federation_above() -> None:
    known = JoinedShards()
    update = make_update(0, make_cluster_rows([1], [5]), {("a", HOUR): 3})
    hours = replace(update.hours, genres=["Drama"], subjects=np.array([1], np.uint32))
    known.apply_update(replace(update, hours=hours))

    chunks = list(to_chunks(known.shards[0], 0, known.terms))

    assert list(chunks[-1].hours.genres) == ["Drama"]
    assert list(chunks[-1].hours.content_ids) == []


def test_the_journal_keeps_when_and_where_an_aggregate_was_received() -> None:
    known = make_shard_with_changes()
    aggregate = replace(known.shards[0], received_at=1234.5, address="shard-0:50051")

    restored = to_aggregate(from_aggregate(aggregate, known.terms), Terms.empty())

    assert (restored.received_at, restored.address) == (1234.5, "shard-0:50051")
