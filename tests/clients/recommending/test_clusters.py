from __future__ import annotations

import sqlite3
from contextlib import closing
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

import pytest
from google.rpc import code_pb2

from constellation.v1 import sync_pb2 as pb
from constellation_settop import (
    Brain,
    Catalogue,
    Context,
    DayType,
    Outbox,
    Pattern,
    TimeOfDay,
    View,
    sync_once,
)
from constellation_settop.columns import MAX_CLUSTERS
from constellation_settop.network.hello import hello_of, pull_of
from constellation_settop.network.outcome import Hooks
from constellation_settop.network.session import Session
from constellation_settop.values import Cluster, GlobalState, Subject, Trend
from tests.clients.samples import (
    ShardRules,
    catalogue,
    cluster,
    clusters_update,
    global_update,
    learned,
    pattern,
    unit_rows,
)
from tests.clients.stub_shard import Peer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from constellation.v1 import patterns_pb2

EVENING = Context(TimeOfDay.EVENING, DayType.WEEKDAY)
TWO = (cluster(1, "0-0", ["0-1"], devices=60), cluster(2, "1-0", ["1-1"]))


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


def key(number: int) -> bytes:
    return number.to_bytes(16, "little")


def answer_to(outbox: Outbox, update: patterns_pb2.GlobalUpdate) -> pb.GlobalAck:
    session = Session(outbox, Random(1), Hooks())  # noqa: S311  # no secret
    session.open(0.0)
    session.receive(ShardRules().welcome(), 0.0)
    session.receive(pb.SyncResponse(global_update=update), 0.0)
    (answer,) = [frame.global_ack for frame in session.take(0) if frame.HasField("global_ack")]
    return answer


def holding(*clusters: Cluster, trends: tuple[Trend, ...] = ()) -> GlobalState:
    return GlobalState(
        clusters={each.pattern.pattern_id: each for each in clusters},
        trends={trend.subject: trend for trend in trends},
    )


def brain_with(held: GlobalState, *watched: str) -> Brain:
    brain = Brain(catalogue())
    for content_id in watched:
        brain.observe(View(content_id, 1.0, 0.9, 0, EVENING))
    brain.hold(lambda: held)
    return brain


def test_clusters_of_an_update_are_held_and_acked(outbox: Outbox) -> None:
    answer = answer_to(outbox, clusters_update(TWO, 2))

    assert not answer.HasField("error")
    held = outbox.global_state.clusters[key(1)]
    assert held.devices == 60
    assert held.pattern.genres == ("genre-0",)
    assert held.pattern.content_ids == ("0-1",)
    assert float(held.pattern.embedding @ TWO[0].pattern.embedding) > 0.999


def test_clusters_are_declared_again_after_a_restart(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        answer_to(outbox, clusters_update(TWO, 2))

    with Outbox.open(tmp_path / "a") as outbox:
        assert hello_of(outbox).held_cluster_ids == key(1) + key(2)
        assert pull_of(outbox).held_cluster_ids == key(1) + key(2)
        assert outbox.global_state.clusters[key(1)].devices == 60


def test_an_update_changes_what_is_held_and_a_reset_concerns_trends_only(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        answer_to(outbox, clusters_update(TWO, 2))
        change = clusters_update([cluster(3, "2-0", ["2-1"])], 2, 1, nonce=2)
        change.reset = True

        answer = answer_to(outbox, change)

        assert not answer.HasField("error")

    with Outbox.open(tmp_path / "a") as outbox:
        assert set(outbox.global_state.clusters) == {key(2), key(3)}


def test_a_shard_that_knows_no_clusters_leaves_none(outbox: Outbox) -> None:
    answer_to(outbox, clusters_update(TWO, 2))

    answer = answer_to(outbox, global_update([pattern(5)], 1, nonce=2))

    assert not answer.HasField("error")
    assert not outbox.global_state.clusters
    assert outbox.global_state.similar


@pytest.mark.parametrize(
    "damage", ["count", "missed removal", "none counted", "embedding", "ids", "removed ids", "rate"]
)
def test_wrong_clusters_are_refused_and_change_nothing(outbox: Outbox, damage: str) -> None:
    answer_to(outbox, clusters_update(TWO, 2))
    update = clusters_update([cluster(3, "2-0", ["2-1"])], 2, 1, nonce=2)
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

    answer = answer_to(outbox, update)

    assert answer.error.code == code_pb2.INVALID_ARGUMENT
    assert answer.version.version == 1
    assert set(outbox.global_state.clusters) == {key(1), key(2)}


def test_more_clusters_than_a_device_keeps_are_refused(outbox: Outbox) -> None:
    most = [Cluster(pattern(number), 50) for number in range(1, MAX_CLUSTERS + 1)]
    assert not answer_to(outbox, clusters_update(most, MAX_CLUSTERS)).HasField("error")

    one_more = clusters_update([Cluster(pattern(999), 50)], MAX_CLUSTERS + 1, nonce=2)
    answer = answer_to(outbox, one_more)

    assert answer.error.code == code_pb2.INVALID_ARGUMENT
    assert len(outbox.global_state.clusters) == MAX_CLUSTERS


def test_a_file_of_the_form_before_clusters_opens_and_goes_on(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        identity = outbox.device_id, outbox.incarnation
        answer_to(outbox, global_update([pattern(5)], 1))
        outbox.append(learned(1))
        pending = list(outbox.pending)
    with closing(sqlite3.connect(tmp_path / "a")) as connection:
        connection.execute("DROP TABLE clusters")

    with Outbox.open(tmp_path / "a") as outbox:
        assert (outbox.device_id, outbox.incarnation) == identity
        assert list(outbox.pending) == pending
        assert list(outbox.global_state.similar) == [pattern(5).pattern_id]
        assert not outbox.global_state.clusters
        update = clusters_update(TWO, 2, nonce=2)
        update.similar_count = 1
        answer_to(outbox, update)
    with Outbox.open(tmp_path / "a") as outbox:
        assert len(outbox.global_state.clusters) == 2


async def test_clusters_are_pulled_and_declared_without_a_stream(outbox: Outbox) -> None:
    peer = Peer()
    peer.clusters = clusters_update(TWO, 2)
    async with serving(peer) as address:
        await sync_once(address, outbox, deadline_seconds=5)
        assert peer.held_cluster_ids == b""
        assert len(outbox.global_state.clusters) == 2

        peer.clusters = clusters_update([], 1, 1, nonce=2)
        await sync_once(address, outbox, deadline_seconds=5)

    assert peer.held_cluster_ids == key(1) + key(2)
    assert list(outbox.global_state.clusters) == [key(2)]


def test_a_new_household_gets_what_clusters_enjoy_the_strongest_first() -> None:
    weak = cluster(1, "0-0", ["0-1", "0-2"], devices=50)
    strong = cluster(2, "1-0", ["1-1", "1-2"], devices=5_000)
    middle = cluster(3, "2-0", ["2-1", "2-2"], devices=500)

    choices = brain_with(holding(weak, strong, middle)).recommend(EVENING, limit=7)

    themes = [choice.content_id[0] for choice in choices]
    assert themes == ["1", "1", "2", "2", "0", "0", "1"]  # at last what is near the strongest
    assert choices[0].reason == "Popular with households that like genre-1"
    assert choices[6].reason == "Close to what households that like genre-1 enjoy"


def test_a_content_of_several_clusters_is_named_after_the_strongest() -> None:
    weak = cluster(1, "0-0", ["3-3"])
    strong = cluster(2, "1-0", ["3-3"], devices=500)

    first = brain_with(holding(weak, strong)).recommend(EVENING, limit=1)[0]

    assert (first.content_id, first.reason) == ("3-3", "Popular with households that like genre-1")


def test_a_cluster_without_genres_has_a_reason_too() -> None:
    row = catalogue().embeddings[0]
    held = holding(Cluster(Pattern(key(1), row, 0.9, 50, content_ids=("0-1",)), 50))

    choices = brain_with(held).recommend(EVENING, limit=2)

    assert [choice.reason for choice in choices] == [
        "Popular with many households",
        "Close to what many households enjoy",
    ]


def test_a_new_household_gets_clusters_and_trends() -> None:
    trend = Trend(Subject("3-3"), 5.0, "north")

    choices = brain_with(holding(*TWO, trends=(trend,))).recommend(EVENING, limit=3)

    assert {choice.content_id for choice in choices} == {"0-1", "1-1", "3-3"}
    assert "Trending in north" in {choice.reason for choice in choices}


def test_a_near_cluster_counts_more_than_a_far_one_however_strong() -> None:
    near = cluster(1, "0-7", ["3-1"])
    far = cluster(2, "1-0", ["3-2"], devices=100_000)
    brain = brain_with(holding(near, far), "0-0", "0-1", "0-2")

    ranks = {
        choice.content_id: rank for rank, choice in enumerate(brain.recommend(EVENING, limit=40))
    }

    assert ranks["3-1"] < ranks["3-2"]
    assert brain.recommend(EVENING, 1)[0].reason == "Popular with households that like genre-0"


def test_a_household_that_no_cluster_is_near_is_told_what_is_popular() -> None:
    brain = brain_with(holding(*TWO), "3-0", "3-1", "3-2")

    choices = brain.recommend(EVENING, limit=40)

    assert [choice.content_id for choice in choices[:2]] == ["0-1", "1-1"]
    assert choices[2].reason.startswith("Because you watched")


def test_contents_and_clusters_out_of_the_catalogue_do_no_harm() -> None:
    held = holding(cluster(1, "0-0", ["elsewhere"]))

    assert len(brain_with(held).recommend(EVENING, limit=7)) == 7
    assert Brain(Catalogue([], unit_rows(0))).recommend(EVENING) == []


@pytest.mark.parametrize("views", [0, 200])
def test_recommending_with_every_cluster_takes_less_than_15_ms(views: int) -> None:
    contents = Catalogue([str(row) for row in range(10_000)], unit_rows(10_000))
    brain = Brain(contents)
    for row in range(views):
        brain.observe(View(str(row), 1.0, 0.9, 0, EVENING))
    supported = [tuple(str(16 * each + n) for n in range(16)) for each in range(MAX_CLUSTERS)]
    held = holding(
        *(
            Cluster(Pattern(key(number), row, 0.9, 50, content_ids=supported[number]), 50)
            for number, row in enumerate(unit_rows(MAX_CLUSTERS, seed=2))
        )
    )
    brain.hold(lambda: held)
    brain.recommend(EVENING)

    times = []
    for row in range(60):
        if views:
            brain.observe(View(str(1000 + row), 1.0, 0.9, 0, EVENING))
        start = perf_counter()
        brain.recommend(EVENING)
        times.append(perf_counter() - start)

    assert min(times) < 0.015  # the machine may be busy with other things
