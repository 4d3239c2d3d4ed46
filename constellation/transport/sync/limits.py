"""The limits of a device's session; Welcome tells most of them to the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from constellation.transport.sync.origin_limits import OriginLimits

HELLO_TIMEOUT_SECONDS: Final = 10.0
"""A stream that is open for longer without a Hello ends."""
MAX_SDK_VERSION_BYTES: Final = 64
MAX_HELD_IDS: Final = 1000
"""The most ids of each kind that a device may declare to hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionLimits:
    """The limits of a session. Most are the shard's settings of the same name."""

    max_inflight_deltas: int = 32
    max_patterns_per_delta: int = 64
    heartbeat_seconds: float = 60.0
    sync_interval_seconds: float = 600.0
    """How long a device that does not stay connected waits between two syncs."""
    sync_jitter_seconds: float = 300.0
    """The most by which a device shortens or lengthens that interval, at random."""
    global_min_interval_seconds: float = 60.0
    """The shortest time between two updates of one stream."""
    slow_reader_seconds: float = 60.0
    """A stream ends when its device has not read a frame for longer."""
    stream_seconds: float = 3000.0
    """A stream is ended in order after it was open for so long; its device comes back."""
    max_streams: int = 50_000
    origins: OriginLimits = field(default_factory=OriginLimits)
