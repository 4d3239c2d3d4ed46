from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from constellation.transport.calls.peers import find_address, parse_peer


class Call:
    """What `find_address` asks of a call."""

    def __init__(self, peer: str, *forwarded: str) -> None:
        self._peer = peer
        self._forwarded = forwarded

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(("x-forwarded-for", each) for each in self._forwarded)


PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:198.51.100.7:4433", "198.51.100.7"),
        ("ipv6:%5B2001:db8::1%5D:57420", "2001:db8::1"),
        ("ipv6:[2001:db8::1]:57420", "2001:db8::1"),
        ("ipv6:[fe80::1%25eth0]:57420", "fe80::1"),
        ("ipv6:[::ffff:198.51.100.7]:1", "198.51.100.7"),
        ("unix:/tmp/socket", None),
        ("ipv4:nonsense:1", None),
        ("", None),
    ],
)
def test_a_peer_is_parsed_as_grpc_names_it(peer: str, address: str | None) -> None:
    assert parse_peer(peer) == (address and ip_address(address))


@pytest.mark.parametrize(
    ("call", "address"),
    [
        (Call("ipv4:8.8.8.8:1"), "8.8.8.8"),
        (Call("ipv4:8.8.8.8:1", "9.9.9.9"), "8.8.8.8"),
        (Call("ipv4:10.1.2.3:1", "9.9.9.9"), "9.9.9.9"),
        (Call("ipv4:10.1.2.3:1", "1.1.1.1, 9.9.9.9"), "9.9.9.9"),
        (Call("ipv4:10.1.2.3:1", "1.1.1.1", "2606:4700::1"), "2606:4700::1"),
        (Call("ipv4:10.1.2.3:1", "9.9.9.9, 10.4.5.6"), None),
        (Call("ipv4:10.1.2.3:1", "not an address"), None),
        (Call("ipv4:10.1.2.3:1"), None),
        (Call("ipv4:192.168.1.1:1", "9.9.9.9"), None),
        (Call("ipv4:127.0.0.1:1"), None),
        (Call("unix:", "9.9.9.9"), None),
    ],
)
def test_only_a_trusted_proxy_may_name_another_address(call: Any, address: str | None) -> None:
    assert find_address(call, PROXIES) == (address and ip_address(address))
