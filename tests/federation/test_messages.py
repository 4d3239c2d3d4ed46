from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from constellation.encoding import quantise
from constellation.federated.aggregate import AggregateVersion
from constellation.federated.trends import Direction
from constellation.v1 import aggregates_pb2 as pb
from federation.merge.codebook import Codebook
from federation.merge.published_clusters import PublishedCluster, RoundStamp
from federation.merge.result import FederatedTrend, ModelState, RoundResult
from federation.messages import (
    from_report,
    parse_identity,
    parse_model_state,
    parse_report,
    serialise_model_state,
    serialise_report,
    serialise_result,
)
from federation.related.dictionary import Dictionary
from federation.related.popular import PopularList
from federation.related.result import RelatedState
from federation.related.rows import RelatedRow
from federation.round_report import (
    Coverage,
    RoundReport,
    RoundState,
    ShardOutcome,
    ShardReport,
    UnavailableShard,
)
from tests.federation.aggregates import embedding

STAMP = RoundStamp(generation=1_700_000_000_000, round_id=7, closed_at=1_800_000_000)
TRENDS = [
    FederatedTrend(
        content_id="film:1",
        genre="",
        score=6.5,
        region="",
        is_global=True,
        direction=Direction.RISING,
        popularity=120.5,
    ),
    FederatedTrend(
        content_id="",
        genre="Drama",
        score=2.25,
        region="north",
        is_global=False,
        direction=Direction.FALLING,
        popularity=60.0,
    ),
]
BEGUN = RoundReport(
    round_id=7, generation=STAMP.generation, state=RoundState.PULLING, started_at=1_799_999_990.5
)
PUBLISHED = replace(
    BEGUN,
    state=RoundState.PUBLISHED,
    closed_at=1_800_000_000.5,
    coverage=Coverage(2, 1, 4, 12, 18),
    shards=[
        ShardReport(
            address="north:50051",
            outcome=ShardOutcome.FRESH,
            versions=[AggregateVersion(0, 3, 9)],
            devices=6,
            pull_seconds=0.25,
            pulled_bytes=1234,
            is_published=True,
            unavailable=[],
        ),
        ShardReport(
            address="south:50051",
            outcome=ShardOutcome.STALE,
            versions=[],
            problem="UNAVAILABLE: nobody there",
            age_seconds=90.0,
            publish_problem="UNAVAILABLE: nobody there",
            unavailable=[UnavailableShard("below:50051", [4], "UNAVAILABLE: nobody there")],
        ),
    ],
    anchor_count=3,
    codebook_version=2,
    cluster_count=1,
    trend_count=2,
    trends=TRENDS,
    result_bytes=5678,
    result_sha256=bytes(32),
    pull_seconds=0.5,
    merge_seconds=0.125,
    publish_seconds=0.0625,
    contributors=1234,
    dictionary_size=500,
    related_count=400,
    related_changed_count=25,
    popular_count=3,
    solve_seconds=0.75,
)
CLUSTER = PublishedCluster(
    cluster_id=2,
    revision=5,
    devices=60,
    shards=3,
    success_rate=float(np.float32(0.9)),
    codes=quantise(embedding(1).astype(np.float32)[None])[0].tobytes(),
    time_of_day=3,
    day_type=1,
    content_type=1,
    genres=("Drama", "Comedy"),
    content_ids=("film:1",),
    changed_at=1_799_000_000,
)
CODEBOOK = Codebook(
    4,
    np.array([2, 5], np.uint32),
    np.stack([embedding(1), embedding(2)]).astype(np.float32),
    next_id=9,
)
RELATED = RelatedState(
    Dictionary(3, ["film:1", "film:2", "film:3"]),
    [
        RelatedRow("film:1", ("film:2", "film:9"), (127, -64), 9),
        RelatedRow("film:2", ("film:1",), (-100,), 0),
    ],
    [PopularList("", ("film:1", "film:2"), (120, 90)), PopularList("north", ("film:2",), (90,))],
    1_799_999_500.5,
)
MODEL_STATE = ModelState(CODEBOOK, 1_799_999_000.5, [CLUSTER], RELATED)
RESULT = RoundResult(CODEBOOK, {3: 5, 1: 2}, [CLUSTER], TRENDS, MODEL_STATE)


@pytest.mark.parametrize("report", [BEGUN, PUBLISHED])
def test_a_report_comes_back_as_it_was_stored(report: RoundReport) -> None:
    assert parse_report(serialise_report(report)) == replace(
        report, shards=list(report.shards), trends=list(report.trends)
    )


def test_what_a_round_has_not_reached_is_not_in_its_message() -> None:
    message = from_report(BEGUN)

    for field in ("closed_at", "coverage", "pull_time", "merge_time", "publish_time"):
        assert not message.HasField(field)


def test_a_global_names_its_round() -> None:
    payload = serialise_result(RESULT, STAMP, Coverage())

    assert parse_identity(payload) == (STAMP, RELATED.dictionary)


def test_a_global_has_what_the_round_made() -> None:
    message = pb.Global.FromString(serialise_result(RESULT, STAMP, Coverage(2, 1, 4, 12, 18)))

    assert message.codebook.version == 4
    assert list(message.codebook.retired_ids) == [1, 3]
    assert list(message.codebook.successor_ids) == [2, 5]
    assert list(message.clusters.cluster_ids) == [2]
    assert list(message.clusters.patterns.content_ids) == ["film:1"]
    assert [trend.region for trend in message.trends] == ["global", "north"]
    assert message.coverage.devices_total == 18
    assert list(message.related.dictionary) == ["film:1", "film:2", "film:3"]
    rows = message.related.rows
    assert [rows.content_ids[each] for each in rows.contents] == ["film:1", "film:2"]
    assert [rows.content_ids[each] for each in rows.neighbours] == ["film:2", "film:9", "film:1"]
    assert (rows.neighbour_counts, rows.shifts) == (bytes([2, 1]), bytes([9, 0]))
    assert np.frombuffer(rows.weights, np.int8).tolist() == [127, -64, -100]
    assert rows.ids == b"".join(row.make_id() for row in RELATED.rows)
    assert [each.region for each in message.popular] == ["", "north"]
    assert message.popular[0].households == [120, 90]
    assert message.popular[1].id == RELATED.popular[1].make_id()


def test_a_model_state_comes_back_from_its_two_parts() -> None:
    payload = serialise_result(RESULT, STAMP, Coverage())

    restored = parse_model_state(serialise_model_state(MODEL_STATE), payload)

    assert restored.codebook is not None
    assert restored.codebook.version == CODEBOOK.version
    assert restored.codebook.next_id == CODEBOOK.next_id
    assert restored.codebook.cluster_ids.tolist() == CODEBOOK.cluster_ids.tolist()
    assert restored.codebook.anchors.tobytes() == CODEBOOK.anchors.tobytes()
    assert restored.reanchored_at == MODEL_STATE.reanchored_at
    assert restored.clusters == [CLUSTER]
    assert restored.related == RELATED


def test_a_model_state_of_an_earlier_version_has_no_related_content() -> None:
    payload = serialise_result(replace(RESULT, model_state=ModelState()), STAMP, Coverage())

    restored = parse_model_state(b'{"next_id": 9, "reanchored_at": 0.5}', payload)

    assert restored.related.needs_likes(1_800_000_000.0, 86_400)
    assert restored.related.rows == []


def test_before_the_first_round_the_model_state_is_empty() -> None:
    restored = parse_model_state(None, None)

    assert (restored.codebook, restored.reanchored_at, restored.clusters) == (None, 0.0, ())


def test_a_codebook_without_anchors_is_no_codebook() -> None:
    empty = Codebook(0, np.empty(0, np.uint32), CODEBOOK.anchors[:0], 1)
    payload = serialise_result(RoundResult(empty, {}, [], [], ModelState(None)), STAMP, Coverage())

    restored = parse_model_state(serialise_model_state(ModelState(None)), payload)

    assert restored.codebook is None


def test_each_revision_of_a_cluster_has_an_id_of_its_own() -> None:
    def make_id(cluster: PublishedCluster, generation: int) -> bytes:
        result = replace(RESULT, clusters=[cluster])
        stamp = replace(STAMP, generation=generation)
        message = pb.Global.FromString(serialise_result(result, stamp, Coverage()))
        return message.clusters.patterns.ids

    same = make_id(CLUSTER, 1), make_id(replace(CLUSTER, devices=61), 1)
    others = {
        make_id(replace(CLUSTER, revision=6), 1),
        make_id(replace(CLUSTER, cluster_id=3), 1),
        make_id(CLUSTER, 2),
    }

    assert same[0] == same[1]
    assert len({same[0], *others}) == 4
