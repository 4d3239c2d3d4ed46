from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.errors import InvalidInputError
from constellation.federated.aggregate import ClusterTerms
from constellation.federated.fixed_point import WEIGHT_ONE
from constellation.transport.codec.aggregates import (
    MAX_DEVICES,
    ChunkSizes,
    from_aggregate_update,
)
from federation.merge.aggregates import (
    AggregateRefusedError,
    add_term_counts,
    cap_weights,
    merge_aggregates,
)
from federation.shards.relay import to_chunks
from tests.federation.aggregates import make_cluster_rows, make_cluster_sums, make_update
from tests.federation.joined_shards import HOUR, JoinedShards, draw_histories

if TYPE_CHECKING:
    import random

    from constellation.federated.aggregate import AggregateUpdate
    from constellation.v1 import aggregates_pb2 as pb


@settings(max_examples=80, deadline=None)
@given(draw_histories(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_sums_have_the_same_bytes_for_any_order_repetition_loss_and_split(
    sent: list[AggregateUpdate], split: int, shuffle: random.Random
) -> None:
    expected, found = JoinedShards(), JoinedShards()
    for each in sent:
        expected.apply_update(each)
    sizes = ChunkSizes(clusters=split, hour_bytes=split * 20)
    for each in sent:
        chunks = list(from_aggregate_update(each, sizes=sizes))
        arrived = shuffle.sample(chunks, shuffle.randint(0, len(chunks) - 1))
        if arrived:  # a broken pull changes nothing
            with pytest.raises(InvalidInputError, match=r"missing|must be"):
                found.assemble(arrived)
        repeated = chunks + shuffle.choices(chunks, k=shuffle.randint(0, 3))
        shuffle.shuffle(repeated)
        for retried in found.assemble(repeated):  # its retry is taken
            found.join(retried)
            found.join(retried)

    assert found.to_sums([1, 2, 3, 4]) == expected.to_sums([1, 2, 3, 4])


@settings(max_examples=60, deadline=None)
@given(draw_histories(), st.randoms(use_true_random=False))
def test_whole_updates_may_come_in_any_order(
    sent: list[AggregateUpdate], shuffle: random.Random
) -> None:
    whole: dict[tuple[int, int, int], list[pb.PullAggregateResponse]] = {}
    known = JoinedShards()
    for each in sent:  # what each shard would have sent to a federation that knows nothing
        known.apply_update(each)
        aggregate = known.shards[each.version.shard_id]
        chunks = list(to_chunks(aggregate, 0, known.terms))
        whole[each.version.shard_id, each.version.epoch, each.version.version] = chunks
    found, shuffled = JoinedShards(), list(whole.values())
    shuffle.shuffle(shuffled)

    for chunks in shuffled:
        for full in found.assemble(chunks):
            found.join(full)

    assert found.to_sums([1, 2, 3, 4]) == known.to_sums([1, 2, 3, 4])


def test_an_older_epoch_changes_nothing() -> None:
    known = JoinedShards()
    known.apply_update(make_update(0, make_cluster_rows([1], [5]), epoch=2))
    before = known.to_sums([1])

    known.apply_update(make_update(0, make_cluster_rows([1], [9]), epoch=1, version=9))

    assert known.to_sums([1]) == before


def test_a_new_epoch_starts_anew() -> None:
    known = JoinedShards()
    known.apply_update(
        make_update(0, make_cluster_rows([1, 2], [5, 6]), {("a", HOUR): 9}, version=8)
    )

    known.apply_update(make_update(0, make_cluster_rows([1], [7]), {("a", HOUR): 2}, epoch=2))

    aggregate = known.shards[0]
    assert aggregate.clusters.features.devices.tolist() == [7]
    assert aggregate.hours.to_cells().devices.tolist() == [2]


def test_rows_of_an_earlier_codebook_are_void() -> None:
    known = JoinedShards()
    known.apply_update(make_update(0, make_cluster_rows([1, 2], [5, 6], version=3), version=3))

    known.apply_update(
        make_update(
            0,
            make_cluster_rows([2], [7], version=4),
            version=4,
            base_version=3,
            codebook_version=2,
            codebook_effective_version=4,
        )
    )

    assert known.shards[0].clusters.cluster_ids.tolist() == [2]


def test_an_update_that_builds_on_an_unknown_version_is_refused() -> None:
    with pytest.raises(AggregateRefusedError, match="version 4, which is not known here"):
        JoinedShards().apply_update(
            make_update(0, make_cluster_rows([1], [5]), version=5, base_version=4)
        )


def test_a_moved_device_is_counted_once() -> None:
    known = JoinedShards()
    known.apply_update(make_update(0, make_cluster_rows([1], [2]), devices=2))
    known.apply_update(make_update(1, make_cluster_rows([1], [1]), devices=1))
    known.apply_update(  # the map gave one of its devices away
        make_update(0, make_cluster_rows([1], [1], version=2), version=2, base_version=1, devices=1)
    )
    known.apply_update(  # and there it sent its patterns again
        make_update(1, make_cluster_rows([1], [2], version=2), version=2, base_version=1, devices=2)
    )

    ordered = [known.shards[0], known.shards[1]]
    assert merge_aggregates(ordered, np.array([1], np.uint32)).features.devices.tolist() == [3]
    assert sum(each.header.devices for each in ordered) == 3


def test_a_heavy_shard_weighs_at_most_four_medians() -> None:
    known = JoinedShards()
    for shard_id, devices in enumerate([10, 10, 10, 1000]):
        known.apply_update(make_update(shard_id, make_cluster_rows([1], [devices])))

    merged = merge_aggregates(
        [known.shards[shard_id] for shard_id in range(4)], np.array([1], np.uint32)
    )

    assert merged.features.weights[0] == (10 + 10 + 10 + 40) * WEIGHT_ONE
    assert merged.features.devices[0] == 1030
    assert cap_weights([10, 10]) == [1.0, 1.0]
    assert cap_weights([0, 0, 0]) == [1.0, 1.0, 1.0]


def test_features_of_the_helper_are_sound() -> None:
    assert make_cluster_sums([1], [3]).weights.tolist() == [3 * WEIGHT_ONE]


TERM_COUNTS = st.dictionaries(
    st.tuples(st.integers(0, 300), st.integers(0, 4)), st.integers(0, MAX_DEVICES), max_size=20
)


@given(st.lists(TERM_COUNTS, max_size=4))
def test_terms_of_several_shards_add_up(shards: list[dict[tuple[int, int], int]]) -> None:
    texts = ["a", "b", "c", "d", "e"]
    expected: dict[tuple[int, int], list[int]] = {}
    parts = []
    for counts in shards:
        keys = np.array(sorted(counts), np.int64).reshape(-1, 2)
        devices = np.array([counts[row, term] for row, term in keys.tolist()], np.int64)
        parts.append(ClusterTerms(keys[:, 0], keys[:, 1], devices, texts))
        for key, count in counts.items():
            expected.setdefault(key, []).append(count)

    merged = add_term_counts(parts)

    found = zip(
        merged.counts.rows.tolist(),
        merged.counts.terms.tolist(),
        merged.counts.devices.tolist(),
        merged.shards.tolist(),
        strict=True,
    )
    assert list(found) == [
        (*key, sum(expected[key]), len(expected[key])) for key in sorted(expected)
    ]
