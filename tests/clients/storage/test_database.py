from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation_settop import Durability, HistoryEntry, LocalChanges, Outbox, StorageError
from constellation_settop.storage.database import open_database, transaction
from tests.clients.samples import (
    make_cluster,
    make_clusters_update,
    make_global_update,
    make_learned_changes,
    make_pattern,
    receive_update,
)

if TYPE_CHECKING:
    from pathlib import Path

TWO_CLUSTERS = (make_cluster(1, "0-0", ["0-1"], devices=60), make_cluster(2, "1-0", ["1-1"]))


def count_watched(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM watched").fetchone()[0]
    return count


def test_nobody_else_may_read_what_a_household_likes(tmp_path: Path) -> None:
    file = tmp_path / "device"
    with Outbox.open(file) as outbox:
        outbox.append(make_learned_changes(1))

        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}

    assert set(modes) == {"device", "device-wal"}
    assert set(modes.values()) == {0o600}


def test_a_transaction_writes_all_or_nothing() -> None:
    with open_database(":memory:") as connection:
        with transaction(connection, Durability.PROCESS_CRASH):
            connection.execute("INSERT INTO watched(content_id) VALUES('a')")
        with (  # noqa: PT012  # the block is what is tested
            pytest.raises(KeyError),
            transaction(connection, Durability.PROCESS_CRASH),
        ):
            connection.execute("INSERT INTO watched(content_id) VALUES('b')")
            raise KeyError

        assert count_watched(connection) == 1


def test_a_write_that_fails_is_a_storage_error_and_changes_nothing() -> None:
    with open_database(":memory:") as connection:
        with (  # noqa: PT012  # the block is what is tested
            pytest.raises(StorageError, match="cannot be written"),
            transaction(connection, Durability.PROCESS_CRASH),
        ):
            connection.execute("INSERT INTO watched(content_id) VALUES('a')")
            connection.execute("INSERT INTO watched(content_id) VALUES('a')")

        assert count_watched(connection) == 0


@pytest.mark.parametrize(
    ("durability", "synchronous"), [(Durability.POWER_FAILURE, 2), (Durability.PROCESS_CRASH, 0)]
)
def test_only_a_power_failure_costs_an_fsync(durability: Durability, synchronous: int) -> None:
    with open_database(":memory:") as connection:
        with transaction(connection, durability):
            pass

        assert connection.execute("PRAGMA synchronous").fetchone()[0] == synchronous


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_a_journal_cut_short_loses_the_newest_deltas_and_nothing_else(
    tmp_path: Path, share: float
) -> None:
    path, copy = tmp_path / "a", tmp_path / "b"
    with Outbox.open(path) as outbox:
        for number in range(1, 11):
            outbox.append(make_learned_changes(number))
        copy.write_bytes(path.read_bytes())  # as a power failure would leave it
        wal = path.with_name("a-wal").read_bytes()
    copy.with_name("b-wal").write_bytes(wal[: int(share * len(wal))])

    with Outbox.open(copy) as outbox:
        seqs = [pending.seq for pending in outbox.pending_deltas]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(outbox.read_learned()) == len(seqs)
        assert outbox.next_seq == len(seqs) + 1


def test_a_damaged_file_is_moved_aside_and_the_device_starts_anew(tmp_path: Path) -> None:
    device_id = bytes(range(16))
    with Outbox.open(tmp_path / "a", device_id) as outbox:
        before = outbox.incarnation
    (tmp_path / "a").write_bytes(b"not a database" * 100)

    with Outbox.open(tmp_path / "a", device_id) as outbox:
        assert outbox.device_id == device_id
        assert outbox.incarnation != before
    assert (tmp_path / "a.damaged").exists()


def test_two_processes_cannot_be_one_device(tmp_path: Path) -> None:
    with (
        Outbox.open(tmp_path / "a"),
        pytest.raises(StorageError, match="open in another process"),
        Outbox.open(tmp_path / "a"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_disk_that_refuses_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError), Outbox.open(tmp_path / "a"):
        pass


def test_a_file_of_the_form_before_clusters_opens_and_goes_on(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        identity = outbox.device_id, outbox.incarnation
        receive_update(outbox, make_global_update([make_pattern(5)], 1))
        outbox.append(make_learned_changes(1))
        pending = list(outbox.pending_deltas)
    with closing(sqlite3.connect(tmp_path / "a")) as connection:
        connection.execute("DROP TABLE clusters")

    with Outbox.open(tmp_path / "a") as outbox:
        assert (outbox.device_id, outbox.incarnation) == identity
        assert list(outbox.pending_deltas) == pending
        assert list(outbox.global_state.similar) == [make_pattern(5).pattern_id]
        assert not outbox.global_state.clusters
        update = make_clusters_update(TWO_CLUSTERS, 2, nonce=2)
        update.similar_count = 1
        receive_update(outbox, update)
    with Outbox.open(tmp_path / "a") as outbox:
        assert len(outbox.global_state.clusters) == 2


VERSION_0 = """
BEGIN;
ALTER TABLE patterns DROP COLUMN profile;
ALTER TABLE watched RENAME TO w;
ALTER TABLE history RENAME TO h;
CREATE TABLE watched(content_id TEXT UNIQUE NOT NULL);
CREATE TABLE history(
  content_id TEXT PRIMARY KEY, opinion INTEGER NOT NULL, watched_at INTEGER NOT NULL,
  time_of_day INTEGER NOT NULL, day_type INTEGER NOT NULL
);
INSERT INTO watched SELECT content_id FROM w ORDER BY rowid;
INSERT INTO history SELECT content_id, opinion, watched_at, time_of_day, day_type FROM h
  ORDER BY rowid;
DROP TABLE w;
DROP TABLE h;
PRAGMA user_version=0;
COMMIT;
"""
"""Gives a file the tables as they were before devices had profiles."""


def test_a_file_from_before_profiles_belongs_to_the_default_profile(tmp_path: Path) -> None:
    watched = ["b", "a", "c"]
    history = [HistoryEntry(each, 64, at) for at, each in enumerate(watched)]
    with Outbox.open(tmp_path / "a") as outbox:
        outbox.append(replace(make_learned_changes(1, 2), watched_ids=watched, history=history))
        learned, pending = outbox.read_learned(), list(outbox.pending_deltas)
    with closing(sqlite3.connect(tmp_path / "a")) as connection:
        connection.executescript(VERSION_0)

    with Outbox.open(tmp_path / "a") as outbox:
        assert outbox.read_profiles() == [""]
        assert outbox.read_watched() == watched
        assert outbox.read_history() == history
        assert [each.learner_state for each in outbox.read_learned()] == [
            each.learner_state for each in learned
        ]
        assert list(outbox.pending_deltas) == pending
        outbox.append(LocalChanges(watched_ids=["a"], profile="kids"))
    with Outbox.open(tmp_path / "a") as outbox:
        assert outbox.read_watched("kids") == ["a"]
        assert outbox.read_watched() == watched


def test_a_file_of_a_newer_version_is_left_alone_and_said(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a"):
        pass
    with closing(sqlite3.connect(tmp_path / "a")) as connection:
        connection.execute("PRAGMA user_version=99")

    with (
        pytest.raises(StorageError, match="version 99, and this SDK knows 1"),
        Outbox.open(tmp_path / "a"),
    ):
        pass
    assert not (tmp_path / "a.damaged").exists()
