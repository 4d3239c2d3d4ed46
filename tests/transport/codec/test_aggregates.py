"""An aggregate leaves in chunks below 1 MiB; every column of a chunk is checked on the way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from constellation.errors import InvalidInputError
from constellation.transport.codec.aggregates import (
    MAX_CANDIDATES,
    MAX_DEVICES,
    ChunkSizes,
    from_aggregate_update,
    to_aggregate_header,
    to_aggregate_version,
    to_candidate_limits,
    to_clusters,
    to_subject_counts,
)
from constellation.v1 import aggregates_pb2 as pb
from tests.federation.aggregates import make_cluster_rows, make_update

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 490_000
ROWS = make_cluster_rows([1, 2, 3], [5, 6, 7], [{"film:1": 5}, {}, {"film:1": 2, "film:2": 1}])
COUNTS = {("film:1", HOUR): 4, ("film:2", HOUR + 1): 3, ("film:1", HOUR + 1): 2}


def make_chunks(sizes: ChunkSizes) -> list[pb.PullAggregateResponse]:
    return list(from_aggregate_update(make_update(7, ROWS, COUNTS), 60, sizes))


def test_the_header_comes_first_and_counts_the_rows() -> None:
    header, *rest = make_chunks(ChunkSizes())

    assert header.header.cluster_count == 3
    assert header.header.hour_count == 3
    assert (header.header.region, header.header.age_seconds) == ("north", 60)
    assert [chunk.WhichOneof("chunk") for chunk in rest] == ["clusters", "hours"]
    assert {chunk.version.shard_id for chunk in rest} == {7}


def test_clusters_are_the_same_in_chunks_of_any_size() -> None:
    (whole,) = [c.clusters for c in make_chunks(ChunkSizes()) if c.HasField("clusters")]
    cut = [c.clusters for c in make_chunks(ChunkSizes(clusters=1)) if c.HasField("clusters")]

    rows = [to_clusters(columns, "clusters") for columns in cut]

    assert [row.cluster_ids.tolist() for row in rows] == [[1], [2], [3]]
    assert [row.features.devices.tolist() for row in rows] == [[5], [6], [7]]
    assert sorted(rows[2].contents.texts) == ["film:1", "film:2"]
    assert to_clusters(whole, "clusters").features.sums.tolist() == [
        row.features.sums[0].tolist() for row in rows
    ]


def test_hours_are_cut_by_their_bytes() -> None:
    chunks = [c.hours for c in make_chunks(ChunkSizes(hour_bytes=20)) if c.HasField("hours")]

    found = {
        (counts.content_ids[subject], hour): devices
        for counts in map(to_subject_counts, chunks)
        for subject, hour, devices in zip(
            counts.subjects.tolist(), counts.hours.tolist(), counts.devices.tolist(), strict=True
        )
    }
    assert len(chunks) > 1
    assert found == COUNTS


def test_the_largest_chunks_are_below_1_mib() -> None:
    sizes = ChunkSizes()
    wide = make_cluster_rows(
        list(range(1, sizes.clusters + 1)),
        [1] * sizes.clusters,
        [
            {f"{row:05}-{number:02}-{'x' * 55}": 1 for number in range(32)}
            for row in range(sizes.clusters)
        ],
    )

    chunks = list(from_aggregate_update(make_update(7, wide)))

    assert len(chunks) == 2
    assert chunks[1].ByteSize() < 1 << 20


CLUSTER_SPOILS: dict[str, Callable[[pb.ClusterColumns], object]] = {
    "clusters.cluster_ids": lambda columns: columns.cluster_ids.__setitem__(1, 1),
    "clusters.versions": lambda columns: columns.versions.append(1),
    "clusters.devices": lambda columns: columns.devices.__setitem__(0, 2**62),
    "clusters.weights": lambda columns: columns.weights.pop(),
    "clusters.sums": lambda columns: setattr(columns, "sums", columns.sums[:-8]),
    "clusters.contexts": lambda columns: setattr(
        columns, "contexts", (2**62).to_bytes(8, "little") * 39
    ),
    "clusters.genres": lambda columns: columns.genre_counts.__setitem__(0, 9),
    "clusters.content_ids": lambda columns: columns.content_indexes.__setitem__(0, 2),
}


@pytest.mark.parametrize("field", CLUSTER_SPOILS)
def test_a_bad_column_of_clusters_is_refused_by_name(field: str) -> None:
    (columns,) = [c.clusters for c in make_chunks(ChunkSizes()) if c.HasField("clusters")]
    CLUSTER_SPOILS[field](columns)

    with pytest.raises(InvalidInputError) as raised:
        to_clusters(columns, "clusters")

    assert raised.value.field == field


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"subjects": bytes(3)}, "hours.subjects"),
        ({"subjects": bytes(4)}, "hours"),
        ({"subjects": bytes(4), "hours": bytes(4), "devices": bytes(4)}, "hours.subjects"),
    ],
)
def test_a_bad_column_of_hours_is_refused_by_name(columns: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        to_subject_counts(pb.HourlyColumns(**columns))

    assert raised.value.field == field


@pytest.mark.parametrize(
    "header",
    [
        {"region": ""},
        {"region": "north", "devices": MAX_DEVICES + 1},
        {"region": "north", "base_version": 2**62},
        {"region": "north", "codebook_effective_version": 2**62},
    ],
)
def test_an_impossible_header_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="header"):
        to_aggregate_header(pb.AggregateHeader(**header))


@pytest.mark.parametrize(("epoch", "version"), [(0, 1), (2**62, 1), (1, 2**62)])
def test_an_impossible_version_is_refused(epoch: int, version: int) -> None:
    with pytest.raises(InvalidInputError, match=f"got epoch {epoch}, version {version}"):
        to_aggregate_version(pb.AggregateVersion(epoch=epoch, version=version))


def test_candidates_are_limited() -> None:
    request = pb.PullAggregateRequest(max_candidates=MAX_CANDIDATES, residual_cosine=0.5)

    assert to_candidate_limits(request) == (MAX_CANDIDATES, 0.5)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.PullAggregateRequest(max_candidates=MAX_CANDIDATES + 1), "max_candidates"),
        (pb.PullAggregateRequest(residual_cosine=1.5), "residual_cosine"),
        (pb.PullAggregateRequest(residual_cosine=float("nan")), "residual_cosine"),
    ],
)
def test_impossible_candidate_limits_are_refused(
    request_: pb.PullAggregateRequest, field: str
) -> None:
    with pytest.raises(InvalidInputError) as raised:
        to_candidate_limits(request_)

    assert raised.value.field == field
