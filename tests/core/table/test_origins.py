from __future__ import annotations

from ipaddress import ip_address

from constellation.core.table.origins import OriginHasher

HASHER = OriginHasher(b"secret")


def test_addresses_of_one_network_have_one_hash() -> None:
    of = HASHER.hash_network

    assert of(ip_address("192.0.2.1")) == of(ip_address("192.0.2.254"))
    assert of(ip_address("192.0.2.1")) != of(ip_address("192.0.3.1"))
    assert of(ip_address("2001:db8:1::1")) == of(ip_address("2001:db8:1:ffff::9"))
    assert of(ip_address("2001:db8:1::1")) != of(ip_address("2001:db8:2::1"))


def test_what_is_unknown_has_the_hash_0() -> None:
    assert HASHER.hash_lot("") == 0
    assert HASHER.hash_network(None) == 0


def test_nobody_without_the_secret_can_tell_a_lot_by_its_hash() -> None:
    assert HASHER.hash_lot("2026-A") == HASHER.hash_lot("2026-A") > 0
    assert HASHER.hash_lot("2026-A") != OriginHasher(b"another").hash_lot("2026-A")
