"""Seconds become Durations and Timestamps, and come back."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration

from constellation.transport.codec.times import to_duration, to_seconds, to_timestamp


@pytest.mark.parametrize("seconds", [0, 0.25, 1, 90.5, 86_400])
def test_a_duration_has_the_seconds_it_was_made_from(seconds: float) -> None:
    assert to_seconds(to_duration(seconds)) == seconds


@pytest.mark.parametrize("nanos", [1, 981_634, 999_999_999])
def test_a_duration_that_is_read_and_written_again_is_the_same(nanos: int) -> None:
    for seconds in (0, 3599):
        duration = Duration(seconds=seconds, nanos=nanos)
        assert to_duration(to_seconds(duration)) == duration


def test_a_duration_is_the_nearest_nanosecond() -> None:
    assert to_duration(1.6e-9) == Duration(nanos=2)


def test_a_time_that_is_read_and_written_again_is_the_same() -> None:
    now = 1_795_826_705.1109468
    assert to_timestamp(now).ToNanoseconds() / 10**9 == now


def test_a_timestamp_counts_from_1970_in_utc() -> None:
    assert to_timestamp(86_400.5).ToJsonString() == "1970-01-02T00:00:00.500Z"
