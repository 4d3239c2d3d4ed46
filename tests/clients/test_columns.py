from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from google.rpc import code_pb2

from constellation.v1 import patterns_pb2
from constellation_settop import ContentType, DayType, Outbox, TimeOfDay
from constellation_settop.columns import (
    MAX_CLUSTERS,
    MalformedUpdateError,
    apply_update,
    from_patterns,
    from_trend,
    from_version,
    to_patterns,
    to_trend,
    to_version,
)
from constellation_settop.related_columns import split_ids
from constellation_settop.values import (
    Cluster,
    Direction,
    GlobalState,
    Scope,
    Subject,
    Trend,
    Version,
)
from tests.clients.samples import (
    make_cluster,
    make_clusters_update,
    make_global_update,
    make_pattern,
    receive_update,
    to_cluster_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TWO_CLUSTERS = (make_cluster(1, "0-0", ["0-1"], devices=60), make_cluster(2, "1-0", ["1-1"]))
TRENDS = {
    trend.subject: trend
    for trend in (
        Trend(Subject("drama", is_genre=True), 2.0, "north", Scope.GLOBAL, Direction.RISING, 7.0),
        Trend(Subject("film-1"), 1.0, "south", Scope.REGIONAL, Direction.FALLING, 3.0),
    )
}


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


def test_patterns_survive_the_wire() -> None:
    first = replace(
        make_pattern(1, success_rate=0.75, sample_count=9),
        time_of_day=TimeOfDay.NIGHT,
        day_type=DayType.WEEKEND,
        content_type=ContentType.LIVE,
        genres=("drama", "war"),
        content_ids=("b", "a"),
        created_at=5,
        updated_at=6,
    )
    second = make_pattern(2)

    decoded = to_patterns(from_patterns([first, second]))

    for pattern, expected in zip(decoded, (first, second), strict=True):
        assert float(pattern.embedding @ expected.embedding) > 0.999
        assert replace(pattern, embedding=expected.embedding).genres == expected.genres
        assert pattern.content_ids == expected.content_ids
        assert pattern.pattern_id == expected.pattern_id
        assert (pattern.success_rate, pattern.sample_count) == (
            expected.success_rate,
            expected.sample_count,
        )
        assert (pattern.time_of_day, pattern.day_type, pattern.content_type) == (
            expected.time_of_day,
            expected.day_type,
            expected.content_type,
        )
        assert (pattern.created_at, pattern.updated_at) == (
            expected.created_at,
            expected.updated_at,
        )


def test_no_patterns_survive_the_wire_too() -> None:
    assert to_patterns(from_patterns([])) == []


def test_patterns_without_genres_and_content_may_leave_their_columns_out() -> None:
    columns = from_patterns([make_pattern(1)])
    columns.genre_counts = columns.content_counts = b""

    (pattern,) = to_patterns(columns)

    assert (pattern.genres, pattern.content_ids) == ((), ())


def test_ids_that_are_cut_off_are_malformed() -> None:
    assert split_ids(bytes(32)) == [bytes(16)] * 2
    with pytest.raises(ValueError, match="16 bytes each, got 33"):
        split_ids(bytes(33))


@pytest.mark.parametrize("trend", TRENDS.values())
def test_a_trend_survives_the_wire(trend: Trend) -> None:
    assert to_trend(from_trend(trend)) == trend


def test_a_trend_without_a_subject_is_malformed() -> None:
    with pytest.raises(ValueError, match="subject"):
        to_trend(patterns_pb2.Trend(score=1.0))
    with pytest.raises(ValueError, match="finite"):
        to_trend(patterns_pb2.Trend(content_id="a", score=float("nan")))


def test_a_version_survives_the_wire() -> None:
    assert to_version(from_version(Version(2**63, 7))) == Version(2**63, 7)


def test_an_update_removes_the_trends_that_it_names() -> None:
    current = GlobalState(trends=TRENDS)
    update = patterns_pb2.GlobalUpdate(removed_trend_genres=["drama"], trend_count=1)

    after = apply_update(current, update)

    assert list(after.trends) == [Subject("film-1")]
    assert len(current.trends) == 2


def test_a_reset_forgets_every_trend_that_does_not_come_again() -> None:
    update = patterns_pb2.GlobalUpdate(
        reset=True, trends=[from_trend(TRENDS[Subject("film-1")])], trend_count=1
    )

    assert list(apply_update(GlobalState(trends=TRENDS), update).trends) == [Subject("film-1")]


def test_counts_that_differ_from_the_shards_are_malformed() -> None:
    with pytest.raises(MalformedUpdateError, match=r"1 similar patterns are left .* counts 2"):
        apply_update(GlobalState(), make_global_update([make_pattern(1)], 2))


def test_clusters_of_an_update_are_held_and_acked(outbox: Outbox) -> None:
    answer = receive_update(outbox, make_clusters_update(TWO_CLUSTERS, 2))

    assert not answer.HasField("error")
    cluster = outbox.global_state.clusters[to_cluster_id(1)]
    assert cluster.devices == 60
    assert cluster.pattern.genres == ("genre-0",)
    assert cluster.pattern.content_ids == ("0-1",)
    assert float(cluster.pattern.embedding @ TWO_CLUSTERS[0].pattern.embedding) > 0.999


def test_an_update_changes_what_is_held_and_a_reset_concerns_trends_only(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        receive_update(outbox, make_clusters_update(TWO_CLUSTERS, 2))
        change = make_clusters_update([make_cluster(3, "2-0", ["2-1"])], 2, 1, nonce=2)
        change.reset = True

        answer = receive_update(outbox, change)

        assert not answer.HasField("error")

    with Outbox.open(tmp_path / "a") as outbox:
        assert set(outbox.global_state.clusters) == {to_cluster_id(2), to_cluster_id(3)}


def test_a_shard_that_knows_no_clusters_leaves_none(outbox: Outbox) -> None:
    receive_update(outbox, make_clusters_update(TWO_CLUSTERS, 2))

    answer = receive_update(outbox, make_global_update([make_pattern(5)], 1, nonce=2))

    assert not answer.HasField("error")
    assert not outbox.global_state.clusters
    assert outbox.global_state.similar


@pytest.mark.parametrize(
    "damage", ["count", "missed removal", "none counted", "embedding", "ids", "removed ids", "rate"]
)
def test_wrong_clusters_are_refused_and_change_nothing(outbox: Outbox, damage: str) -> None:
    receive_update(outbox, make_clusters_update(TWO_CLUSTERS, 2))
    update = make_clusters_update([make_cluster(3, "2-0", ["2-1"])], 2, 1, nonce=2)
    match damage:
        case "count":
            update.cluster_count = 4
        case "missed removal":
            update.removed_cluster_ids = b""
        case "none counted":
            update.cluster_count = 0
        case "embedding":
            update.clusters.embeddings = b"\0" * len(update.clusters.embeddings)
        case "ids":
            update.clusters.ids += b"x"
        case "removed ids":
            update.removed_cluster_ids += b"x"
        case "rate":
            update.clusters.success_rates[0] = float("nan")

    answer = receive_update(outbox, update)

    assert answer.error.code == code_pb2.INVALID_ARGUMENT
    assert answer.version.version == 1
    assert set(outbox.global_state.clusters) == {to_cluster_id(1), to_cluster_id(2)}


def test_more_clusters_than_a_device_keeps_are_refused(outbox: Outbox) -> None:
    most = [Cluster(make_pattern(number), 50) for number in range(1, MAX_CLUSTERS + 1)]
    assert not receive_update(outbox, make_clusters_update(most, MAX_CLUSTERS)).HasField("error")

    one_more = make_clusters_update([Cluster(make_pattern(999), 50)], MAX_CLUSTERS + 1, nonce=2)
    answer = receive_update(outbox, one_more)

    assert answer.error.code == code_pb2.INVALID_ARGUMENT
    assert len(outbox.global_state.clusters) == MAX_CLUSTERS
