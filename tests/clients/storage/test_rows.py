from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation_settop import Durability, LearnedPattern, LocalChanges, Outbox
from constellation_settop.storage.database import open_database
from constellation_settop.storage.rows import (
    MAX_WATCHED_IDS,
    mark_unshared,
    read_global,
    read_learned,
    read_shared,
    read_watched,
    write_global,
    write_learned,
)
from constellation_settop.values import (
    Cluster,
    GlobalState,
    SimilarPattern,
    Subject,
    Trend,
    Version,
)
from tests.clients.samples import make_learned_changes, make_pattern

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

FIRST, SECOND = make_pattern(1), make_pattern(2)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with open_database(":memory:") as connection:
        yield connection


def test_the_global_state_survives_a_restart(tmp_path: Path) -> None:
    trend = Trend(Subject("drama", is_genre=True), 2.0, "north")
    similar = {
        make_pattern(number).pattern_id: SimilarPattern(make_pattern(number), 0.5)
        for number in (1, 2)
    }
    with Outbox.open(tmp_path / "a", durability=Durability.PROCESS_CRASH) as outbox:
        outbox.save_global_state(GlobalState(Version(1, 1), dict(similar), {trend.subject: trend}))
        del similar[make_pattern(1).pattern_id]
        outbox.save_global_state(
            GlobalState(Version(2**63, 2), dict(similar), {trend.subject: trend})
        )

    with Outbox.open(tmp_path / "a") as outbox:
        assert outbox.global_state.version == Version(2**63, 2)
        assert list(outbox.global_state.similar) == [make_pattern(2).pattern_id]
        assert outbox.global_state.trends == {trend.subject: trend}


def test_patterns_come_back_as_they_were_learned(tmp_path: Path) -> None:
    original = LearnedPattern(make_pattern(3, 0.8, 5), b"memory")
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(LocalChanges([original], watched_ids=["seen"]))

    with Outbox.open(tmp_path / "a") as outbox:
        (kept,) = outbox.read_learned()
        assert kept.learner_state == b"memory"
        assert kept.pattern.sample_count == 5
        assert float(kept.pattern.embedding @ original.pattern.embedding) > 0.999
        assert outbox.read_watched() == ["seen"]


def test_only_patterns_of_enough_quality_are_shared(connection: sqlite3.Connection) -> None:
    write_learned(connection, make_learned_changes(1, success_rate=0.9), 0.7, seq=1)
    write_learned(connection, make_learned_changes(2, success_rate=0.5), 0.7, seq=1)

    assert list(read_shared(connection)) == [FIRST.pattern_id]
    assert len(read_learned(connection, "")) == 2


def test_a_rejected_pattern_is_unshared_unless_a_later_delta_has_it(
    connection: sqlite3.Connection,
) -> None:
    write_learned(connection, make_learned_changes(1), 0.7, seq=1)
    write_learned(connection, make_learned_changes(2), 0.7, seq=2)

    mark_unshared(connection, FIRST.pattern_id + SECOND.pattern_id, seq=1)

    assert list(read_shared(connection)) == [SECOND.pattern_id]


def test_a_forgotten_pattern_leaves_the_file(connection: sqlite3.Connection) -> None:
    write_learned(connection, make_learned_changes(1, 2), 0.7, seq=1)

    write_learned(connection, LocalChanges(forgotten_ids=[FIRST.pattern_id]), 0.7, seq=2)

    assert [each.pattern.pattern_id for each in read_learned(connection, "")] == [SECOND.pattern_id]


def test_only_the_newest_watched_content_is_remembered(connection: sqlite3.Connection) -> None:
    watched = [str(number) for number in range(MAX_WATCHED_IDS + 5)]
    write_learned(connection, LocalChanges(watched_ids=watched), 0.7, seq=1)

    assert read_watched(connection, "") == watched[5:]


def test_writing_the_global_state_leaves_what_did_not_change(
    connection: sqlite3.Connection,
) -> None:
    trend = Trend(Subject("film"), 2.0)
    before = GlobalState(
        Version(1, 1),
        {b"a" * 16: SimilarPattern(FIRST, 0.5)},
        {trend.subject: trend},
        {SECOND.pattern_id: Cluster(SECOND, 7)},
    )
    write_global(connection, GlobalState(), before)
    connection.execute("UPDATE clusters SET devices=8")  # shows whether the row is written again

    write_global(connection, before, GlobalState(Version(1, 2), clusters=before.clusters))

    after = read_global(connection, Version(1, 2))
    assert (after.similar, after.trends) == ({}, {})
    assert after.clusters[SECOND.pattern_id].devices == 8
