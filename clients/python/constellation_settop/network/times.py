"""Times on the network side: the monotonic clock, and durations of the API in seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration


def read_clock() -> float:
    """Return the running event loop's monotonic time, in seconds."""
    return asyncio.get_running_loop().time()


MAX_SECONDS: Final = 86_400.0
"""A longer duration from a shard counts as a day."""


def to_seconds(duration: Duration) -> float:
    """Return the seconds of a duration, at most a day; 0 for one that is not set."""
    seconds = duration.seconds + duration.nanos / 1e9
    return min(max(-MAX_SECONDS, seconds), MAX_SECONDS)
