from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from constellation.placement import (
    find_owner,
    find_owners,
    format_map,
    is_address,
    map_version,
    parse_map,
)

RANDOM = np.random.default_rng(1)
DEVICES = [RANDOM.bytes(16) for _ in range(4000)]
SHARDS = {number: f"shard-{number}:50051" for number in range(8)}


def test_devices_spread_evenly_over_shards() -> None:
    counts = Counter(find_owner(device_id, SHARDS) for device_id in DEVICES)

    assert set(counts) == set(SHARDS)
    assert max(counts.values()) < 1.25 * len(DEVICES) / len(SHARDS)


def test_a_new_shard_takes_only_its_share() -> None:
    grown = {**SHARDS, 8: "shard-8:50051"}

    moved = [each for each in DEVICES if find_owner(each, SHARDS) != find_owner(each, grown)]

    assert all(find_owner(each, grown) == 8 for each in moved)
    assert 0.7 < len(moved) / (len(DEVICES) / 9) < 1.3


def test_a_lost_shard_moves_only_its_own_devices() -> None:
    shrunk = {number: address for number, address in SHARDS.items() if number != 3}

    moved = [each for each in DEVICES if find_owner(each, SHARDS) != find_owner(each, shrunk)]

    assert all(find_owner(each, SHARDS) == 3 for each in moved)


def test_a_shard_keeps_its_devices_at_a_new_address() -> None:
    elsewhere = dict.fromkeys(SHARDS, "elsewhere:1")

    assert [find_owner(each, SHARDS) for each in DEVICES] == [
        find_owner(each, elsewhere) for each in DEVICES
    ]


def test_owners_are_the_same_in_every_version() -> None:
    assert [find_owner(bytes([number] * 16), SHARDS) for number in range(6)] == [5, 3, 5, 3, 1, 7]


def test_many_devices_have_the_owners_that_each_has_alone() -> None:
    together = find_owners(b"".join(DEVICES), SHARDS)

    assert together.tolist() == [find_owner(each, SHARDS) for each in DEVICES]


def test_a_map_is_read_as_it_is_written() -> None:
    assert parse_map(" 1=b:2, 0=[::1]:50051 ") == {0: "[::1]:50051", 1: "b:2"}
    assert parse_map(format_map(SHARDS)) == SHARDS
    assert parse_map("") == {}


@pytest.mark.parametrize(
    "text",
    ["0", "x=a:1", "-1=a:1", "0=a", "0=a:0", "0=a:70000", "0=:1", "0=a:1,0=b:1", "4294967296=a:1"],
)
def test_a_malformed_map_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard"):
        parse_map(text)


def test_a_wrong_address_in_a_map_is_reported_with_the_number_of_its_shard() -> None:
    with pytest.raises(
        ValueError,
        match="the address of shard 7 must be host:port with a port from 1 to 65535, got 'b:0'",
    ):
        parse_map("0=a:1,7=b:0")


def test_only_an_address_to_listen_on_may_have_port_0() -> None:
    assert is_address("localhost:0", minimum_port=0)
    assert not is_address("localhost:0")
    assert is_address("localhost:65535")
    assert not is_address("localhost:65536")


def test_the_version_changes_with_the_map_and_not_with_its_order() -> None:
    backwards = dict(reversed(SHARDS.items()))

    assert map_version(SHARDS) == map_version(backwards)
    assert map_version(SHARDS) != map_version({**SHARDS, 0: "elsewhere:1"})


def test_an_empty_map_and_a_short_device_id_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        find_owner(bytes(16), {})
    with pytest.raises(ValueError, match="16 bytes"):
        find_owner(b"short", SHARDS)
