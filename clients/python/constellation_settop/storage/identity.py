"""The single values in a device's file: its identity, its numbering and the shard's rules."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from constellation.encoding import ID_BYTES
from constellation_settop.values import Version

if TYPE_CHECKING:
    import sqlite3

QUALITY_FLOOR: Final = 0.7
"""The success rate below which a pattern stays on the device, whatever its shard asks for."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """The identity of a device, the state of its numbering, and the rules of its shard."""

    device_id: bytes
    """16 bytes."""
    incarnation: int
    """Random and not 0. A new file gets a new one, so that the shard can tell them apart."""
    next_seq: int = 1
    """Number of the next delta."""
    last_acked_seq: int = 0
    """The highest seq that the shard has acked; 0 for none."""
    quality_threshold: float = QUALITY_FLOOR
    """Success rate below which a pattern is not shared."""
    patterns_per_delta: int = 64
    """The most upserts and removals in one delta."""
    version: Version = field(default_factory=Version)
    """Version of the global state in the file."""
    is_sharing: bool = True
    """False means that nothing but the withdrawal of what was shared leaves the device."""

    @property
    def shared_threshold(self) -> float:
        """Success rate from which patterns are shared: none is while `is_sharing` is False."""
        return self.quality_threshold if self.is_sharing else math.inf


def ensure_identity(connection: sqlite3.Connection, device_id: bytes | None) -> None:
    """Give a new file an identity: `device_id`, or a random one. Other files keep theirs."""
    if connection.execute("SELECT count(*) FROM device_state").fetchone()[0]:
        return
    state = DeviceState(device_id or secrets.token_bytes(ID_BYTES), draw_incarnation())
    write_device_state(connection, None, state)


def draw_incarnation() -> int:
    """Return a random incarnation, which is not 0."""
    return 1 + secrets.randbelow(2**64 - 1)


def read_device_state(connection: sqlite3.Connection) -> DeviceState:
    """Return the state in a file that has an identity."""
    texts: dict[str, str] = dict(
        connection.execute("SELECT name, value FROM device_state").fetchall()
    )
    return DeviceState(
        bytes.fromhex(texts["device_id"]),
        int(texts["incarnation"]),
        int(texts["next_seq"]),
        int(texts["last_acked_seq"]),
        float(texts["quality_threshold"]),
        int(texts["patterns_per_delta"]),
        Version(int(texts["generation"]), int(texts["version"])),
        texts.get("is_sharing", "1") == "1",  # files of older versions lack it
    )


def write_device_state(
    connection: sqlite3.Connection, before: DeviceState | None, after: DeviceState
) -> None:
    """Write the values that differ. Call it inside a transaction."""
    old_texts = _to_texts(before) if before else {}
    changed_rows = [row for row in _to_texts(after).items() if old_texts.get(row[0]) != row[1]]
    connection.executemany("INSERT OR REPLACE INTO device_state VALUES(?,?)", changed_rows)


def _to_texts(state: DeviceState) -> dict[str, str]:
    return {
        "device_id": state.device_id.hex(),
        "incarnation": str(state.incarnation),  # up to 2**64 - 1, and SQLite's integers are signed
        "next_seq": str(state.next_seq),
        "last_acked_seq": str(state.last_acked_seq),
        "quality_threshold": repr(state.quality_threshold),
        "patterns_per_delta": str(state.patterns_per_delta),
        "generation": str(state.version.generation),
        "version": str(state.version.version),
        "is_sharing": str(int(state.is_sharing)),
    }
