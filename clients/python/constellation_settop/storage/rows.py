"""Reading and writing patterns, watched content and the global state in the device's file."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from constellation.v1 import patterns_pb2 as pb
from constellation_settop.columns import (
    from_patterns,
    from_trend,
    to_patterns,
    to_trend,
)
from constellation_settop.related_columns import (
    from_popular,
    from_related_rows,
    split_ids,
    to_popular,
    to_related_rows,
)
from constellation_settop.values import (
    Cluster,
    GlobalState,
    LearnedPattern,
    LocalChanges,
    Pattern,
    PopularContents,
    RelatedRow,
    SimilarPattern,
    Subject,
    Version,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WATCHED_IDS: Final = 20_000
"""Watched content items that the file remembers: the newest ones."""


def _to_pattern(columns: bytes) -> Pattern:
    return to_patterns(pb.PatternColumns.FromString(columns))[0]


def read_profiles(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the profiles that watched or learned something, in ascending order."""
    tables = ("patterns", "watched", "history", "unsaved_views")
    select = " UNION ".join(f"SELECT profile FROM {table}" for table in tables)  # noqa: S608  # constants
    return [row[0] for row in connection.execute(f"{select} ORDER BY profile")]


def read_learned(connection: sqlite3.Connection, profile: str) -> list[LearnedPattern]:
    """Return every pattern of a profile, in the order in which they were written."""
    select = "SELECT columns, learner_state FROM patterns WHERE profile=? ORDER BY rowid"
    rows = connection.execute(select, (profile,))
    return [LearnedPattern(_to_pattern(columns), state) for columns, state in rows]


def read_shared(connection: sqlite3.Connection) -> dict[bytes, Pattern]:
    """Return, by id, the patterns that the shard has, or will have after the pending deltas."""
    rows = connection.execute("SELECT columns FROM patterns WHERE shared_seq>0 ORDER BY rowid")
    patterns = [_to_pattern(columns) for (columns,) in rows]
    return {pattern.pattern_id: pattern for pattern in patterns}


def write_learned(
    connection: sqlite3.Connection, changes: LocalChanges, quality_threshold: float, seq: int
) -> None:
    """Write what was learned. Call it inside a transaction.

    Patterns that reach the quality threshold are marked as shared by delta `seq`.
    """
    connection.executemany(
        "INSERT OR REPLACE INTO patterns"
        "(pattern_id, columns, learner_state, shared_seq, profile) VALUES(?,?,?,?,?)",
        [
            (
                learned.pattern.pattern_id,
                from_patterns([learned.pattern]).SerializeToString(),
                learned.learner_state,
                seq if learned.pattern.success_rate >= quality_threshold else 0,
                changes.profile,
            )
            for learned in changes.learned_patterns
        ],
    )
    forgotten_rows = [(pattern_id,) for pattern_id in changes.forgotten_ids]
    connection.executemany("DELETE FROM patterns WHERE pattern_id=?", forgotten_rows)
    watched_rows = [(content_id, changes.profile) for content_id in changes.watched_ids]
    connection.executemany(
        "INSERT OR IGNORE INTO watched(content_id, profile) VALUES(?,?)", watched_rows
    )


def mark_shared(connection: sqlite3.Connection, quality_threshold: float, seq: int) -> None:
    """Note that delta `seq` shares the patterns that reach the threshold, and none else.

    Call it inside a transaction.
    """
    patterns = [_to_pattern(row[0]) for row in connection.execute("SELECT columns FROM patterns")]
    connection.executemany(
        "UPDATE patterns SET shared_seq=? WHERE pattern_id=?",
        [
            (seq if each.success_rate >= quality_threshold else 0, each.pattern_id)
            for each in patterns
        ],
    )


def delete_profile(connection: sqlite3.Connection, profile: str) -> None:
    """Delete everything about a profile. Call it inside a transaction."""
    for table in ("patterns", "history", "watched", "unsaved_views"):
        connection.execute(f"DELETE FROM {table} WHERE profile=?", (profile,))  # noqa: S608  # constants


def delete_everything(connection: sqlite3.Connection) -> None:
    """Delete everything about the household. Call it inside a transaction."""
    tables = ("patterns", "history", "watched", "unsaved_views", "similar", "related")
    for table in (*tables, "deltas", "acked_deltas"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  # constants


def mark_unshared(connection: sqlite3.Connection, ids: bytes, seq: int) -> None:
    """Note that the shard lacks these patterns, unless a delta after `seq` has them again.

    `ids` are 16 bytes each. Call it inside a transaction.
    """
    connection.executemany(
        "UPDATE patterns SET shared_seq=0 WHERE pattern_id=? AND shared_seq<=?",
        [(pattern_id, seq) for pattern_id in split_ids(ids)],
    )


def read_watched(connection: sqlite3.Connection, profile: str) -> Sequence[str]:
    """Return the newest MAX_WATCHED_IDS content ids of a profile, the oldest first.

    The others are deleted.
    """
    surplus = "SELECT rowid FROM watched WHERE profile=? ORDER BY rowid DESC LIMIT -1 OFFSET ?"
    with suppress(sqlite3.OperationalError):  # a full disk must not keep a device from starting
        connection.execute(
            f"DELETE FROM watched WHERE rowid IN ({surplus})",  # noqa: S608  # a constant
            (profile, MAX_WATCHED_IDS),
        )
    select = "SELECT content_id FROM watched WHERE profile=? ORDER BY rowid DESC LIMIT ?"
    return [row[0] for row in connection.execute(select, (profile, MAX_WATCHED_IDS))][::-1]


def read_global(connection: sqlite3.Connection, version: Version) -> GlobalState:
    """Return the global state in the file, under the version that the file states for it."""
    similar = {}
    for columns, similarity in connection.execute("SELECT columns, similarity FROM similar"):
        pattern = _to_pattern(columns)
        similar[pattern.pattern_id] = SimilarPattern(pattern, similarity)
    trends = {}
    for (message,) in connection.execute("SELECT message FROM trends"):
        trend = to_trend(pb.Trend.FromString(message))
        trends[trend.subject] = trend
    clusters = {}
    for columns, devices in connection.execute("SELECT columns, devices FROM clusters"):
        pattern = _to_pattern(columns)
        clusters[pattern.pattern_id] = Cluster(pattern, devices)
    related: dict[bytes, RelatedRow] = {}
    for (message,) in connection.execute("SELECT message FROM related"):
        related |= to_related_rows(pb.RelatedRows.FromString(message))
    popular: dict[bytes, PopularContents] = {}
    for (message,) in connection.execute("SELECT message FROM popular"):
        popular |= to_popular([pb.PopularContents.FromString(message)])
    return GlobalState(version, similar, trends, clusters, related, popular)


def write_global(connection: sqlite3.Connection, before: GlobalState, after: GlobalState) -> None:
    """Write what differs between two states. Call it inside a transaction.

    Values that are the same object in both are taken to be unchanged.
    """
    _write_similar(connection, before, after)
    _write_trends(connection, before, after)
    _write_clusters(connection, before, after)
    _write_related(connection, before, after)
    _write_popular(connection, before, after)


def _write_similar(connection: sqlite3.Connection, before: GlobalState, after: GlobalState) -> None:
    connection.executemany(
        "DELETE FROM similar WHERE pattern_id=?",
        [(pattern_id,) for pattern_id in before.similar if pattern_id not in after.similar],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO similar VALUES(?,?,?)",
        [
            (key, similar.similarity, from_patterns([similar.pattern]).SerializeToString())
            for key, similar in after.similar.items()
            if before.similar.get(key) is not similar
        ],
    )


def _write_trends(connection: sqlite3.Connection, before: GlobalState, after: GlobalState) -> None:
    connection.executemany(
        "DELETE FROM trends WHERE name=? AND is_genre=?",
        [_to_key(subject) for subject in before.trends if subject not in after.trends],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO trends VALUES(?,?,?)",
        [
            (*_to_key(subject), from_trend(trend).SerializeToString())
            for subject, trend in after.trends.items()
            if before.trends.get(subject) is not trend
        ],
    )


def _write_clusters(
    connection: sqlite3.Connection, before: GlobalState, after: GlobalState
) -> None:
    connection.executemany(
        "DELETE FROM clusters WHERE cluster_id=?",
        [(cluster_id,) for cluster_id in before.clusters if cluster_id not in after.clusters],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO clusters VALUES(?,?,?)",
        [
            (key, cluster.devices, from_patterns([cluster.pattern]).SerializeToString())
            for key, cluster in after.clusters.items()
            if before.clusters.get(key) is not cluster
        ],
    )


def _write_related(connection: sqlite3.Connection, before: GlobalState, after: GlobalState) -> None:
    connection.executemany(
        "DELETE FROM related WHERE row_id=?",
        [(row_id,) for row_id in before.related if row_id not in after.related],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO related VALUES(?,?)",
        [
            (row_id, from_related_rows({row_id: row}).SerializeToString())
            for row_id, row in after.related.items()
            if before.related.get(row_id) is not row
        ],
    )


def _write_popular(connection: sqlite3.Connection, before: GlobalState, after: GlobalState) -> None:
    connection.executemany(
        "DELETE FROM popular WHERE list_id=?",
        [(list_id,) for list_id in before.popular if list_id not in after.popular],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO popular VALUES(?,?)",
        [
            (list_id, from_popular(list_id, each).SerializeToString())
            for list_id, each in after.popular.items()
            if before.popular.get(list_id) is not each
        ],
    )


def _to_key(subject: Subject) -> tuple[str, bool]:
    return subject.name, subject.is_genre
