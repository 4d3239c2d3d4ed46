from __future__ import annotations

import pytest

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop.network.rules import (
    MAX_DELAY_SECONDS,
    MAX_SEQ_JUMP,
    MAX_UPDATES,
    UPDATE_PERIOD_SECONDS,
    BrokenShardError,
    UpdateRate,
    check_ack,
    check_welcome,
    clamp_delay,
    is_address,
    is_reachable,
)


@pytest.mark.parametrize("text", ["shard-7.example:50051", "10.0.0.7:1", "[::1]:50051"])
def test_a_host_and_a_port_are_an_address(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text", ["", "shard", "unix:/run/a", "dns:///a:1", "a:1\n", "a b:1", "a:123456", "x" * 300]
)
def test_anything_else_is_none(text: str) -> None:
    assert not is_address(text)


def test_a_delay_is_from_nothing_to_an_hour() -> None:
    delays = [clamp_delay(each) for each in (-1.0, 2.5, 1e9, float("inf"), float("nan"))]

    assert delays == [0.0, 2.5, MAX_DELAY_SECONDS, 0.0, 0.0]


def test_updates_are_counted_over_a_minute() -> None:
    rate = UpdateRate()
    for _ in range(MAX_UPDATES):
        rate.record(0.0)

    with pytest.raises(BrokenShardError, match="more than 600 global updates"):
        rate.record(1.0)
    rate.record(UPDATE_PERIOD_SECONDS + 2)


def test_a_device_follows_a_number_only_so_far() -> None:
    assert is_reachable(7 + MAX_SEQ_JUMP, next_seq=7)
    assert not is_reachable(8 + MAX_SEQ_JUMP, next_seq=7)
    assert not is_reachable(2**62 + 1, next_seq=2**62 - 1)


def test_what_a_shard_sends_is_accepted() -> None:
    check_welcome(pb.Welcome(expected_seq=1, quality_threshold=0.7))
    check_ack(
        patterns_pb2.DeltaAck(
            through_seq=4,
            expected_seq=5,
            rejected=[patterns_pb2.Rejection(seq=4, pattern_id=bytes(16))],
        )
    )
