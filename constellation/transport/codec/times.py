"""Conversions between seconds and protobuf's Duration and Timestamp."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def to_duration(seconds: float) -> Duration:
    """Return a length of time as a Duration, to the nanosecond."""
    duration = Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration


def to_seconds(duration: Duration) -> float:
    """Return the seconds of a Duration."""
    return duration.seconds + duration.nanos / 1e9


def to_timestamp(seconds: float) -> Timestamp:
    """Return a time, given in seconds since 1970, UTC, as a Timestamp."""
    timestamp = Timestamp()
    timestamp.FromNanoseconds(int(seconds * 1e9))
    return timestamp
