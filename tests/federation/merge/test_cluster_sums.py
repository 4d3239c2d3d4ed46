from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.errors import InvalidInputError
from constellation.federated.fixed_point import WEIGHT_ONE
from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.v1 import aggregates_pb2 as pb
from federation.merge.cluster_sums import (
    AggregateRefusedError,
    ShardAggregate,
    ShardUpdate,
    cap_weights,
    join_update,
    merge_aggregates,
    renumber_terms,
)
from federation.merge.terms import TermDictionary
from federation.shards.assembly import Assembly
from federation.shards.relay import from_aggregate, to_aggregate, to_chunks
from tests.federation.aggregates import make_cluster_rows, make_cluster_sums, make_update

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from constellation.federated.aggregate import AggregateUpdate

HOUR = 500_000


class JoinedShards:
    """What a federation knows of some shards, after updates in some order."""

    def __init__(self) -> None:
        self.contents = TermDictionary()
        self.genres = TermDictionary()
        self.shards: dict[int, ShardAggregate] = {}

    def apply_update(self, update_: AggregateUpdate) -> None:
        for sent in self.assemble(list(from_aggregate_update(update_))):
            self.join(sent)

    def join(self, sent: ShardUpdate) -> None:
        held = self.shards.get(sent.version.shard_id)
        self.shards[sent.version.shard_id] = join_update(held, sent, (1.0, "a:1"))

    def assemble(self, chunks: Sequence[pb.PullAggregateResponse]) -> list[ShardUpdate]:
        """Return what chunks make up that came over the wire."""
        assembly = Assembly(HOUR)
        for chunk in chunks:
            assembly.add(pb.PullAggregateResponse.FromString(chunk.SerializeToString()))
        ours = (self.contents, self.genres)
        return [
            renumber_terms(found, assembly.terms, ours) for found, _ in assembly.build_updates()
        ]

    def to_sums(self, cluster_ids: Sequence[int]) -> tuple[Any, ...]:
        """Return the sums over all shards, as bytes and texts."""
        ordered = [self.shards[shard_id] for shard_id in sorted(self.shards)]
        merged = merge_aggregates(ordered, np.array(cluster_ids, np.uint32))
        named = sorted(
            (row, self.contents.texts[word], devices)
            for row, word, devices in zip(
                merged.contents.counts.rows.tolist(),
                merged.contents.counts.terms.tolist(),
                merged.contents.counts.devices.tolist(),
                strict=True,
            )
        )
        watched = sorted(
            (shard_id, self.contents.texts[subject], hour, devices)
            for shard_id, shard in self.shards.items()
            for subject, hour, devices in zip(
                shard.hours.to_cells().subjects.tolist(),
                shard.hours.to_cells().hours.tolist(),
                shard.hours.to_cells().devices.tolist(),
                strict=True,
            )
        )
        return merged.features.sums.tobytes(), merged.shards.tobytes(), named, watched


COUNTS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(HOUR - 3, HOUR)),
    st.integers(1, 9),
    max_size=6,
)


@st.composite
def draw_histories(draw: st.DrawFn) -> list[AggregateUpdate]:
    """Draw what several shards sent over time: whole at first, then what changed; some restart."""
    sent = []
    for shard_id in range(draw(st.integers(1, 3))):
        epoch, version = 1, 0
        seen: dict[tuple[str, int], int] = {}
        for _ in range(draw(st.integers(1, 3))):
            whole = version == 0 or draw(st.booleans())
            if version and draw(st.integers(0, 4)) == 0:
                epoch, version, whole, seen = epoch + 1, 0, True, {}
            version += 1
            ids = sorted(draw(st.sets(st.integers(1, 4), min_size=1)))
            devices = [draw(st.integers(0, 9)) for _ in ids]
            contents = [{"a": each} for each in devices]
            for cell, count in draw(COUNTS).items():  # counts only grow
                seen[cell] = max(count, seen.get(cell, 0))
            rows = make_cluster_rows(ids, devices, contents, version=version)
            base = 0 if whole else version - 1
            sent.append(
                make_update(
                    shard_id, rows, dict(seen), epoch=epoch, version=version, base_version=base
                )
            )
    return sent


def shrink_chunks(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("constellation.transport.codec.aggregates.CLUSTERS_PER_CHUNK", rows)
    monkeypatch.setattr("constellation.transport.codec.aggregates._HOURS_CHUNK_BYTES", rows * 20)


@settings(max_examples=80, deadline=None)
@given(draw_histories(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_the_sums_have_the_same_bytes_for_any_order_repetition_loss_and_split(
    sent: list[AggregateUpdate], split: int, shuffle: random.Random
) -> None:
    expected, found = JoinedShards(), JoinedShards()
    for each in sent:
        expected.apply_update(each)
    with pytest.MonkeyPatch.context() as monkeypatch:
        shrink_chunks(monkeypatch, split)
        for each in sent:
            chunks = list(from_aggregate_update(each))
            arrived = shuffle.sample(chunks, shuffle.randint(0, len(chunks) - 1))
            if arrived:  # a broken pull changes nothing ...
                with pytest.raises(InvalidInputError, match=r"missing|must be"):
                    found.assemble(arrived)
            repeated = chunks + shuffle.choices(chunks, k=shuffle.randint(0, 3))
            shuffle.shuffle(repeated)
            for retried in found.assemble(repeated):  # ... and its retry is taken
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
    for each in sent:  # what each shard would have sent to somebody who holds nothing
        known.apply_update(each)
        held = known.shards[each.version.shard_id]
        chunks = list(to_chunks(held, 0, (known.contents, known.genres)))
        whole[each.version.shard_id, each.version.epoch, each.version.version] = chunks
    found, shuffled = JoinedShards(), list(whole.values())
    shuffle.shuffle(shuffled)

    for chunks in shuffled:
        for full in found.assemble(chunks):
            found.join(full)

    assert found.to_sums([1, 2, 3, 4]) == known.to_sums([1, 2, 3, 4])


@settings(max_examples=40, deadline=None)
@given(draw_histories())
def test_the_journal_gives_back_what_was_stored(sent: list[AggregateUpdate]) -> None:
    known, restored = JoinedShards(), JoinedShards()
    for each in sent:
        known.apply_update(each)

    for shard_id, held in known.shards.items():
        stored = from_aggregate(held, known.contents, known.genres)
        restored.shards[shard_id] = to_aggregate(stored, restored.contents, restored.genres)

    assert restored.to_sums([1, 2, 3, 4]) == known.to_sums([1, 2, 3, 4])
    assert {s: held.version for s, held in restored.shards.items()} == {
        s: held.version for s, held in known.shards.items()
    }


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

    held = known.shards[0]
    assert held.clusters.features.devices.tolist() == [7]
    assert held.hours.to_cells().devices.tolist() == [2]


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


def test_an_update_that_leaves_out_what_is_not_held_is_refused() -> None:
    with pytest.raises(AggregateRefusedError, match="version 4, which is not held"):
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
    known.apply_update(  # ... and here it sent its patterns again
        make_update(1, make_cluster_rows([1], [2], version=2), version=2, base_version=1, devices=2)
    )

    ordered = [known.shards[0], known.shards[1]]
    assert merge_aggregates(ordered, np.array([1], np.uint32)).features.devices.tolist() == [3]
    assert sum(each.facts.devices for each in ordered) == 3


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


INVALID_CHUNKS: dict[str, Callable[[pb.PullAggregateResponse], object]] = {
    "clusters.sums": lambda chunk: setattr(chunk.clusters, "sums", chunk.clusters.sums[:-8]),
    "clusters.devices": lambda chunk: chunk.clusters.devices.__setitem__(0, 2**63),
    "clusters.weights": lambda chunk: chunk.clusters.weights.__setitem__(0, 2**50),
    "clusters.successes": lambda chunk: chunk.clusters.successes.__setitem__(0, 2**40),
    "clusters.contexts": lambda chunk: setattr(
        chunk.clusters, "contexts", b"\xff" * len(chunk.clusters.contexts)
    ),
    "clusters.cluster_ids": lambda chunk: chunk.clusters.cluster_ids.__setitem__(1, 1),
    "clusters.content_ids": lambda chunk: chunk.clusters.content_indexes.append(7),
}


@pytest.mark.parametrize("field", INVALID_CHUNKS)
def test_an_aggregate_that_cannot_be_is_refused_by_name(field: str) -> None:
    chunks = list(from_aggregate_update(make_update(0, make_cluster_rows([1, 2], [5, 6]))))
    INVALID_CHUNKS[field](chunks[1])

    with pytest.raises(InvalidInputError, match=field.partition(".")[2]) as raised:
        JoinedShards().assemble(chunks)

    assert raised.value.field == field


def test_a_sum_longer_than_its_weights_is_refused() -> None:
    rows = make_cluster_rows([1], [5])
    longer = replace(rows.features, sums=rows.features.sums * 2)

    with pytest.raises(InvalidInputError, match=r"sums of cluster 1 contradicts"):
        JoinedShards().assemble(
            list(from_aggregate_update(make_update(0, replace(rows, features=longer))))
        )


def test_an_hour_ahead_of_the_clock_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="clock ahead"):
        JoinedShards().assemble(
            list(
                from_aggregate_update(
                    make_update(0, make_cluster_rows([1], [5]), {("a", HOUR + 50): 1})
                )
            )
        )


def test_features_of_the_helper_are_sound() -> None:
    assert make_cluster_sums([1], [3]).weights.tolist() == [3 * WEIGHT_ONE]
