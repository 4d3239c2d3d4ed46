"""The address of a call's peer, also behind a proxy that is trusted to name it."""

from __future__ import annotations

from functools import lru_cache
from inspect import isasyncgenfunction
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from constellation.auth.principal import CALLER_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from grpc.aio import ServicerContext

    from constellation.transport.calls.interceptor import Behaviour, CallKind, Wrapper

    IPAddress = IPv4Address | IPv6Address
    IPNetwork = IPv4Network | IPv6Network

FORWARDED: Final = "x-forwarded-for"
_REMEMBERED_PEERS: Final = 4096


def make_address_reader(trusted_proxies: Sequence[IPNetwork]) -> Wrapper:
    """Return a wrapper that sets CALLER_ADDRESS for each call."""

    def read_addresses(_: str, __: CallKind, behaviour: Behaviour) -> Behaviour:
        if isasyncgenfunction(behaviour):

            async def handle_stream(request: Any, context: ServicerContext[Any, Any]) -> Any:
                CALLER_ADDRESS.set(find_address(context, trusted_proxies))
                async for response in behaviour(request, context):
                    yield response

            return handle_stream

        async def handle(request: Any, context: ServicerContext[Any, Any]) -> Any:
            CALLER_ADDRESS.set(find_address(context, trusted_proxies))
            return await behaviour(request, context)

        return handle

    return read_addresses


def find_address(
    context: ServicerContext[Any, Any], trusted_proxies: Sequence[IPNetwork]
) -> IPAddress | None:
    """Return the address from which a call comes; None when that is unknown.

    A trusted proxy adds the address of its own peer to the end of `x-forwarded-for`. An address in
    a network of trusted proxies is unknown as well: it is another proxy, or a machine that passed
    the connection on. Any other peer speaks for itself, but a private address says nothing. The
    whole fleet may be behind each of these.
    """
    peer = parse_peer(context.peer())
    if peer is None:
        return None
    if not _is_in(trusted_proxies, peer):
        return peer if peer.is_global else None
    named = [value for key, value in context.invocation_metadata() or () if key == FORWARDED]
    if not named or not isinstance(named[-1], str):
        return None
    address = _parse_address(named[-1].rpartition(",")[2].strip())
    return None if address is None or _is_in(trusted_proxies, address) else address


def _is_in(networks: Sequence[IPNetwork], address: IPAddress) -> bool:
    return any(address in network for network in networks)


@lru_cache(_REMEMBERED_PEERS)  # the calls of one connection have one peer
def parse_peer(peer: str) -> IPAddress | None:
    """Return the address in a peer as gRPC names it; None for a Unix socket."""
    kind, _, rest = peer.partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return None
    return _parse_address(unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0])


def _parse_address(text: str) -> IPAddress | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped: IPAddress | None = getattr(address, "ipv4_mapped", None)
    return mapped or address
