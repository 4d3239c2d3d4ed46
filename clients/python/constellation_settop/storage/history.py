"""The household's history in the device's file: what it liked and disliked, in order."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from constellation_settop.storage.rows import read_learned
from constellation_settop.values import (
    DEFAULT_PROFILE,
    MAX_OPINION,
    DayType,
    HistoryEntry,
    TimeOfDay,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

MAX_HISTORY: Final = 2_000
"""Entries that the file remembers: the newest ones."""
MAX_SHARED_LIKES: Final = 128
"""Liked content items that a snapshot tells the shard: the latest ones."""
_SEEDED_OPINION: Final = MAX_OPINION // 2


def read_history(connection: sqlite3.Connection, profile: str) -> list[HistoryEntry]:
    """Return a profile's newest MAX_HISTORY entries, the oldest first, and delete the others."""
    surplus = "SELECT rowid FROM history WHERE profile=? ORDER BY rowid DESC LIMIT -1 OFFSET ?"
    with suppress(sqlite3.OperationalError):  # a full disk must not keep a device from starting
        connection.execute(
            f"DELETE FROM history WHERE rowid IN ({surplus})",  # noqa: S608  # a constant
            (profile, MAX_HISTORY),
        )
    rows = connection.execute(
        "SELECT content_id, opinion, watched_at, time_of_day, day_type FROM history "
        "WHERE profile=? ORDER BY rowid DESC LIMIT ?",
        (profile, MAX_HISTORY),
    ).fetchall()
    return [
        HistoryEntry(content_id, opinion, at, TimeOfDay(time_of_day), DayType(day_type))
        for content_id, opinion, at, time_of_day, day_type in reversed(rows)
    ]


def read_latest_likes(connection: sqlite3.Connection) -> list[str]:
    """Return what any profile liked latest, at most MAX_SHARED_LIKES, the oldest first."""
    select = (
        "SELECT content_id FROM history WHERE opinion>0 "
        "GROUP BY content_id ORDER BY max(rowid) DESC LIMIT ?"
    )
    return [row[0] for row in connection.execute(select, (MAX_SHARED_LIKES,))][::-1]


def find_liked(connection: sqlite3.Connection, content_ids: Collection[str]) -> set[str]:
    """Return which of these content items any profile likes."""
    rows = connection.execute("SELECT DISTINCT content_id FROM history WHERE opinion>0")
    return {row[0] for row in rows}.intersection(content_ids)


def write_history(
    connection: sqlite3.Connection, profile: str, entries: Iterable[HistoryEntry]
) -> None:
    """Add entries at the end; each replaces the one that the profile has of its content item.

    Call it inside a transaction.
    """
    connection.executemany(
        "INSERT OR REPLACE INTO history"
        "(content_id, opinion, watched_at, time_of_day, day_type, profile) VALUES(?,?,?,?,?,?)",
        [
            (
                *(each.content_id, each.opinion, each.watched_at),
                *(each.time_of_day, each.day_type, profile),
            )
            for each in entries
        ],
    )


def delete_history(
    connection: sqlite3.Connection, profile: str, content_ids: Sequence[str]
) -> None:
    """Delete a profile's entries of some content items, also as watched.

    Call it inside a transaction.
    """
    rows = [(profile, content_id) for content_id in content_ids]
    connection.executemany("DELETE FROM history WHERE profile=? AND content_id=?", rows)
    connection.executemany("DELETE FROM watched WHERE profile=? AND content_id=?", rows)


def seed_history(connection: sqlite3.Connection) -> None:
    """Give a file of a version without history one: the content of its patterns, as liked.

    Call it inside a transaction.
    """
    if connection.execute("SELECT count(*) FROM history").fetchone()[0]:
        return
    patterns = [learned.pattern for learned in read_learned(connection, DEFAULT_PROFILE)]
    patterns.sort(key=lambda pattern: pattern.updated_at)
    for pattern in patterns:
        write_history(
            connection,
            DEFAULT_PROFILE,
            [
                HistoryEntry(
                    content_id,
                    _SEEDED_OPINION,
                    pattern.updated_at,
                    pattern.time_of_day,
                    pattern.day_type,
                )
                for content_id in pattern.content_ids
            ],
        )
