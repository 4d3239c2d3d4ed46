"""The history of a household in the device's file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from constellation_settop import (
    LearnedPattern,
    LocalChanges,
    Outbox,
)
from constellation_settop.storage.history import MAX_HISTORY, MAX_SHARED_LIKES
from tests.clients.samples import (
    make_history_changes,
    make_pattern,
    read_delta,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_the_history_survives_a_restart_in_its_order(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(make_history_changes("a", "b", "c"))
        outbox.append(make_history_changes("a", opinion=-16))
    with Outbox.open(tmp_path / "a") as outbox:
        kept = [(each.content_id, each.opinion) for each in outbox.read_history()]

        assert kept == [("b", 64), ("c", 64), ("a", -16)]
        assert not outbox.pending_deltas  # the history alone concerns no shard


def test_the_file_keeps_the_newest_entries_of_the_history(outbox: Outbox) -> None:
    outbox.append(make_history_changes(*map(str, range(MAX_HISTORY + 5))))

    history = outbox.read_history()

    assert len(history) == MAX_HISTORY
    assert history[0].content_id == "5"


def test_a_snapshot_tells_the_latest_liked_content_the_oldest_first(outbox: Outbox) -> None:
    outbox.append(make_history_changes(*map(str, range(MAX_SHARED_LIKES + 2))))
    outbox.append(make_history_changes("5", opinion=-16))

    outbox.compact_to_snapshot()

    delta = read_delta(outbox, outbox.next_seq - 1)
    expected = [str(each) for each in range(1, MAX_SHARED_LIKES + 2) if each != 5]
    assert list(delta.liked_content_ids) == expected


def test_a_file_without_history_gets_one_from_its_patterns(tmp_path: Path) -> None:
    older = replace(make_pattern(1), content_ids=("a", "b"), updated_at=1)
    newer = replace(make_pattern(2), content_ids=("c", "a"), updated_at=2)
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(LocalChanges([LearnedPattern(newer), LearnedPattern(older)]))
    with closing(sqlite3.connect(tmp_path / "a")) as connection:
        connection.execute("DROP TABLE history")

    with Outbox.open(tmp_path / "a") as outbox:
        assert [each.content_id for each in outbox.read_history()] == ["b", "c", "a"]
