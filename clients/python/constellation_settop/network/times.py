"""Times on the network side: the monotonic clock, and durations of the API in seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration


def read_clock() -> float:
    """Return the running event loop's monotonic time, in seconds."""
    return asyncio.get_running_loop().time()


def to_seconds(duration: Duration) -> float:
    """Return the seconds of a duration, to the microsecond; 0 for one that is not set."""
    return duration.ToTimedelta().total_seconds()
