"""Addresses of this machine itself, and the gRPC options that reach them past any proxy."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound
"""By address that means every interface: the loopback address that reaches it."""


def to_local_address(address: str, port: int | str) -> str:
    """Return the address at which this machine reaches a listener on `address` and `port`."""
    host = address.rpartition(":")[0]
    return f"{_WILDCARDS.get(host, host)}:{port}"


def is_loopback(address: str) -> bool:
    """Return whether `address` (host:port) names this machine: localhost, 127.0.0.0/8 or ::1."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def to_channel_options(address: str) -> tuple[tuple[str, int], ...]:
    """Return the gRPC channel options for an address.

    gRPC sends what goes to loopback through `http_proxy` as well, which cannot reach this machine.
    """
    return (("grpc.enable_http_proxy", 0),) if is_loopback(address) else ()
