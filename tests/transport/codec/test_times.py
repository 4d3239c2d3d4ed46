"""Seconds become Durations and Timestamps, and come back."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from constellation.transport.codec.times import to_duration, to_seconds, to_timestamp


@pytest.mark.parametrize("seconds", [0, 0.25, 1, 90.5, 86_400])
def test_a_duration_has_the_seconds_it_was_made_from(seconds: float) -> None:
    assert to_seconds(to_duration(seconds)) == seconds


def test_a_duration_is_exact_to_the_nanosecond() -> None:
    assert to_duration(1.5e-9) == Duration(nanos=1)


def test_a_timestamp_counts_from_1970_in_utc() -> None:
    assert to_timestamp(86_400.5).ToJsonString() == "1970-01-02T00:00:00.500Z"
