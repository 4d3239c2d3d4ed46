"""Conversions between seconds and protobuf's Duration and Timestamp."""

from __future__ import annotations

import math

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def to_duration(seconds: float) -> Duration:
    """Return a length of time as a Duration, to the nanosecond."""
    duration = Duration()
    duration.FromNanoseconds(_to_nanoseconds(seconds))
    return duration


def to_seconds(duration: Duration) -> float:
    """Return the seconds of a Duration."""
    return duration.seconds + duration.nanos / 1e9


def to_timestamp(seconds: float) -> Timestamp:
    """Return a time, given in seconds since 1970, UTC, as a Timestamp."""
    timestamp = Timestamp()
    timestamp.FromNanoseconds(_to_nanoseconds(seconds))
    return timestamp


def _to_nanoseconds(seconds: float) -> int:
    """Return the nearest nanosecond, so that a value read back is written as the same one again.

    The fraction is converted apart: beyond 2**53, the product of a time and 1e9 is not exact.
    """
    whole = math.floor(seconds)
    return whole * 10**9 + round((seconds - whole) * 1e9)
