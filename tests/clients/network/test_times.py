from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from constellation.v1 import sync_pb2 as pb
from constellation_settop.network.times import read_clock, to_seconds


def test_a_duration_becomes_seconds() -> None:
    assert to_seconds(Duration(seconds=2, nanos=500_000_000)) == 2.5
    assert to_seconds(Duration(seconds=-3)) == -3


def test_a_duration_without_end_is_a_day() -> None:
    assert to_seconds(Duration(seconds=2**62)) == 86_400
    assert to_seconds(Duration(seconds=-(2**62))) == -86_400


def test_a_duration_that_is_not_set_is_zero() -> None:
    assert to_seconds(pb.Welcome().sync_interval) == 0


async def test_the_clock_never_goes_back() -> None:
    before = read_clock()

    assert read_clock() >= before
