"""The single values a device's file holds: identity, numbering, the shard's rules."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from constellation.encoding import ID_BYTES
from constellation_settop.values import Version

if TYPE_CHECKING:
    import sqlite3


@dataclass(frozen=True, slots=True)
class Facts:
    """A device and where its numbering stands."""

    device_id: bytes
    incarnation: int
    next_seq: int = 1
    last_acked_seq: int = 0
    quality_threshold: float = 0.7
    patterns_per_delta: int = 64
    version: Version = field(default_factory=Version)
    """Of the global state held."""


def identify(connection: sqlite3.Connection, device_id: bytes | None) -> None:
    """Give a new file an identity; one that has one keeps it."""
    if connection.execute("SELECT count(*) FROM facts").fetchone()[0]:
        return
    incarnation = 1 + secrets.randbelow(2**64 - 1)
    identity = Facts(device_id or secrets.token_bytes(ID_BYTES), incarnation)
    write_facts(connection, None, identity)


def read_facts(connection: sqlite3.Connection) -> Facts:
    texts: dict[str, str] = dict(connection.execute("SELECT name, value FROM facts").fetchall())
    return Facts(
        bytes.fromhex(texts["device_id"]),
        int(texts["incarnation"]),
        int(texts["next_seq"]),
        int(texts["last_acked_seq"]),
        float(texts["quality_threshold"]),
        int(texts["patterns_per_delta"]),
        Version(int(texts["generation"]), int(texts["version"])),
    )


def write_facts(connection: sqlite3.Connection, before: Facts | None, after: Facts) -> None:
    """Write what differs; call it inside a transaction."""
    known = _texts(before) if before else {}
    changed = [row for row in _texts(after).items() if known.get(row[0]) != row[1]]
    connection.executemany("INSERT OR REPLACE INTO facts VALUES(?,?)", changed)


def _texts(facts: Facts) -> dict[str, str]:
    return {
        "device_id": facts.device_id.hex(),
        "incarnation": str(facts.incarnation),  # SQLite's integers are signed
        "next_seq": str(facts.next_seq),
        "last_acked_seq": str(facts.last_acked_seq),
        "quality_threshold": repr(facts.quality_threshold),
        "patterns_per_delta": str(facts.patterns_per_delta),
        "generation": str(facts.version.generation),
        "version": str(facts.version.version),
    }
