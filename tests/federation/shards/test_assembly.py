from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.errors import InvalidInputError
from constellation.transport.codec.aggregates import from_aggregate_update
from federation.round_report import UnavailableShard
from federation.shards.assembly import MAX_TEXT_LENGTH, MAX_UNAVAILABLE, Assembly
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.joined_shards import HOUR, JoinedShards

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.federated.aggregate import AggregateUpdate
    from constellation.v1 import aggregates_pb2 as pb


def assemble(*updates: AggregateUpdate) -> Assembly:
    """Return an assembly of everything that these updates consist of."""
    assembly = Assembly(HOUR)
    for update in updates:
        for chunk in from_aggregate_update(update):
            assembly.add(chunk)
    return assembly


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
def test_an_impossible_column_is_named(field: str) -> None:
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


def test_updates_are_ordered_by_shard_and_carry_their_age() -> None:
    assembly = Assembly(HOUR)
    for shard_id, age_seconds in ((3, 90), (1, 0)):
        update = make_update(shard_id, make_cluster_rows([1], [5]))
        for chunk in from_aggregate_update(update, age_seconds):
            assembly.add(chunk)

    updates = assembly.build_updates()

    assert [(each.version.shard_id, age_seconds) for each, age_seconds in updates] == [
        (1, 0),
        (3, 90),
    ]


def test_a_repeated_chunk_counts_once() -> None:
    update = make_update(0, make_cluster_rows([1, 2], [5, 6]), {("a", HOUR): 3})

    ((found, _),) = assemble(update, update).build_updates()

    assert found.clusters.cluster_ids.tolist() == [1, 2]
    assert found.hours.devices.tolist() == [3]


def test_a_genre_is_a_negative_subject() -> None:
    update = make_update(0, make_cluster_rows([1], [5]), {("a", HOUR): 3})
    hours = replace(update.hours, genres=["Drama"], subjects=np.array([1], np.uint32))

    assembly = assemble(replace(update, hours=hours))

    ((found, _),) = assembly.build_updates()
    drama = assembly.terms.genres.intern(["Drama"])
    assert found.hours.subjects.tolist() == (-1 - drama).tolist()


def test_a_missing_header_is_named() -> None:
    assembly = Assembly(HOUR)
    _, clusters = from_aggregate_update(make_update(4, make_cluster_rows([1], [5])))
    assembly.add(clusters)

    with pytest.raises(InvalidInputError, match="header of shard 4 is missing"):
        assembly.build_updates()


def test_a_chunk_without_contents_is_refused() -> None:
    header = next(from_aggregate_update(make_update(0, make_cluster_rows([1], [5]))))
    header.ClearField("header")

    with pytest.raises(InvalidInputError, match="chunk must be one of header, clusters"):
        Assembly(HOUR).add(header)


def test_a_cluster_with_more_devices_than_its_shard_is_refused() -> None:
    update = make_update(0, make_cluster_rows([1], [50]), devices=49)

    with pytest.raises(InvalidInputError, match=r"clusters\.devices of shard 0 must be at most 49"):
        assemble(update).build_updates()


def test_a_term_with_more_devices_than_its_cluster_is_refused() -> None:
    rows = make_cluster_rows([1], [5], [{"film:1": 6}])

    with pytest.raises(InvalidInputError, match="a term with more devices than its cluster"):
        assemble(make_update(0, rows))


def test_a_term_that_is_too_long_is_refused() -> None:
    rows = make_cluster_rows([1], [5], [{"x" * 65: 5}])

    with pytest.raises(InvalidInputError, match="clusters has an invalid term: must be from"):
        assemble(make_update(0, rows))


def test_what_did_not_answer_a_relay_is_kept_within_limits() -> None:
    (header, *_) = from_aggregate_update(make_update(1, make_cluster_rows([1], [6])))
    header.header.unavailable.add(address="a:1", shard_ids=[3], problem="UNAVAILABLE")
    assembly = Assembly(HOUR)
    assembly.add(header)
    assembly.add(header)  # repeated

    assert assembly.unavailable == [UnavailableShard("a:1", [3], "UNAVAILABLE")]
    header.header.unavailable.add(address="a:1", problem="x" * (MAX_TEXT_LENGTH + 1))
    with pytest.raises(InvalidInputError, match="texts of at most 256 characters"):
        Assembly(HOUR).add(header)
    for _ in range(MAX_UNAVAILABLE):
        header.header.unavailable.add(address="a:1")
    with pytest.raises(InvalidInputError, match="at most 256 addresses"):
        Assembly(HOUR).add(header)
