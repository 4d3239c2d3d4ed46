"""Limits: what a session may do, and how often; told to devices in Welcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HELLO_TIMEOUT_SECONDS: Final = 10.0
"""A stream without Hello for longer is ended."""
MAX_SDK_VERSION_BYTES: Final = 64
MAX_HELD_IDS: Final = 1000
"""Similar patterns a device may hold; and clusters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionLimits:
    """The rules of a session; each is a setting of the same name."""

    max_inflight_deltas: int = 32
    max_patterns_per_delta: int = 64
    heartbeat_seconds: float = 60.0
    sync_interval_seconds: float = 600.0
    """A device that does not stay connected syncs this often ..."""
    sync_jitter_seconds: float = 300.0
    """... plus or minus up to this much."""
    global_min_interval_seconds: float = 60.0
    """Between two updates of one stream."""
    slow_reader_seconds: float = 60.0
    """A device that has not read a frame for longer is cut."""
    max_streams: int = 50_000
